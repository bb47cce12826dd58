//! What the help of a command ends with, and its man page: what else is to know, and its exit statuses.

/// The help's end for a command that needs no configuration. `notes` may be empty.
pub(super) fn after(notes: &str, statuses: &[(u8, &str)]) -> String {
    let mut statuses: Vec<_> = statuses.iter().chain(OF_ALL).copied().collect();
    // The command's own words come first, and count.
    statuses.sort_by_key(|(status, _)| *status);
    statuses.dedup_by_key(|(status, _)| *status);
    let statuses = statuses.iter().map(|(status, meaning)| format!("\n  {status:<2}  {meaning}"));
    let statuses = format!("{HEADING}{}", statuses.collect::<String>());
    if notes.is_empty() { statuses } else { format!("{notes}\n\n{statuses}") }
}

/// The same for one that reads the configuration.
pub(super) fn after_reading(notes: &str, statuses: &[(u8, &str)]) -> String {
    let statuses: Vec<_> = statuses.iter().chain(OF_READING).copied().collect();
    after(notes, &statuses)
}

/// The same for one that asks the running server.
pub(super) fn after_asking(notes: &str, statuses: &[(u8, &str)]) -> String {
    let statuses: Vec<_> = statuses.iter().chain(OF_ASKING).copied().collect();
    after_reading(notes, &statuses)
}

/// The notes, and the statuses with their meaning, of such an end.
pub(super) fn parts(after: &str) -> (&str, Vec<(&str, &str)>) {
    let (notes, statuses) = after.split_once(HEADING).unwrap_or((after, ""));
    let statuses = statuses.lines().filter_map(|line| line.trim().split_once(' '));
    (notes.trim_end(), statuses.map(|(status, meaning)| (status, meaning.trim_start())).collect())
}

const HEADING: &str = "Exit status:";

/// What any command may end with.
const OF_ALL: &[(u8, &str)] = &[(64, "the command line is wrong"), (74, "what it says can't be written")];

/// What any command may end with that reads the configuration.
const OF_READING: &[(u8, &str)] =
    &[(77, "you may not read the configuration"), (78, "the configuration is wrong")];

/// What any command may end with that asks the server.
const OF_ASKING: &[(u8, &str)] = &[
    (69, "no server answers, or its store does not"),
    (77, "you may not ask it (control.group), or read the configuration"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_together_comes_apart() {
        let text = after_asking("A note.\n\nAnother.", &[(0, "fine"), (1, "no"), (64, "it can't be")]);
        let (notes, statuses) = parts(&text);
        assert_eq!(notes, "A note.\n\nAnother.");
        let numbers: Vec<_> = statuses.iter().map(|(status, _)| *status).collect();
        assert_eq!(numbers, ["0", "1", "64", "69", "74", "77", "78"]);
        assert_eq!(statuses[2], ("64", "it can't be"), "the command's own words");
        assert_eq!(parts(&after("", &[])).0, "");
        assert_eq!(parts("only a note"), ("only a note", Vec::new()));
    }
}
