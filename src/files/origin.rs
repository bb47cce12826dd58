//! Where an answer is from and how old it is, in the words of `backstop check`.

use std::{path::PathBuf, time::Duration};

/// `/etc/backstop/recipients, read 5 s ago`.
pub fn read((paths, age): (&[PathBuf], Option<Duration>)) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let age = age.map_or_else(|| "not read yet".to_owned(), |age| format!("read {}", ago(age)));
    format!("{}, {age}", paths.join(", "))
}

/// `5 s ago`, in the largest unit of which there are two.
pub fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(24 * 60 * 60, "days"), (60 * 60, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, name) = unit.unwrap_or((1, "s"));
    format!("{} {name} ago", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_in_words() {
        for (seconds, words) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), words);
        }
    }
}
