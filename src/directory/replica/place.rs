//! Where a replica's file is.
//!
//! Its name says what defines the content, so that a changed configuration never takes another one's content for its
//! own. When the new content is complete, the old file goes.

use std::{
    fmt::Write,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::copy;
use crate::{
    directory::{Config, ldap, sql},
    store::disk::DAMAGED,
};

/// The name of the file for a directory of this name and configuration: `NAME-HASH`, without what comes behind it.
pub(super) fn stem(name: &str, config: &Config) -> String {
    let mut hash = Fnv::default();
    if let Some(ldap) = &config.ldap {
        let content = ldap::Config {
            // Which of its servers are asked, and how, says nothing of what it holds.
            urls: Vec::new(),
            password_file: None,
            allow_plain: false,
            start_tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
            verify_certificate: true,
            deadline: Duration::ZERO,
            source: ldap::Mode::default(),
            feed: ldap::Feed::default(),
            connections: 0,
            page_size: 0,
            ..ldap.clone()
        };
        hash.add("ldap", &content);
    }
    if let Some(sql) = &config.sql {
        let content = sql::Config {
            url: without_password(&sql.url),
            ca_file: None,
            password_file: None,
            query: String::new(),
            source: sql::Mode::default(),
            deadline: Duration::ZERO,
            connections: 0,
            ..sql.clone()
        };
        hash.add("sql", &content);
    }
    let mut stem = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => stem.push(char::from(byte)),
            _ => write!(stem, "%{byte:02x}").expect("strings take everything"),
        }
    }
    // A file's name has a limit, and a directory's has none.
    if stem.len() > LONGEST_NAME {
        let mut name = Fnv::default();
        name.bytes(stem.as_bytes());
        stem.truncate(LONGEST_NAME);
        write!(stem, "%{:016x}", name.0).expect("strings take everything");
    }
    write!(stem, "-{:016x}", hash.0).expect("strings take everything");
    stem
}

/// The path of the file in the store's directory, in a directory that is made and that nobody else may read.
///
/// # Errors
/// If that directory can't be made.
pub(super) fn path(store: &Path, stem: &str) -> io::Result<PathBuf> {
    let directory = store.join("replica");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    Ok(directory.join(format!("{stem}{SUFFIX}")))
}

/// Deletes the files that the same directory had with other content, and those that were moved aside.
pub(super) fn clear_others(path: &Path) {
    let own = path.file_name().and_then(|name| name.to_str()).and_then(split);
    let (Some((name, hash)), Some(directory)) = (own, path.parent()) else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let (whole, is_damaged) = file.strip_suffix(DAMAGED).map_or((file, false), |whole| (whole, true));
        let is_old = split(whole).is_some_and(|(other, of)| other == name && (of != hash || is_damaged));
        if is_old && let Err(error) = remove(&entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "an old replica can't be deleted");
        }
    }
}

/// Deletes a file that no process has open, with the copy of its index: another one may keep its own directory of this name in the same store.
fn remove(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    file.try_lock()?;
    fs::remove_file(path)?;
    for copy in [copy::path(path), copy::path_of_new(path)] {
        match fs::remove_file(copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Name and hash.
fn split(file: &str) -> Option<(&str, &str)> {
    let (name, hash) = file.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    (hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((name, hash))
}

/// `scheme://user:password@host` without the password: it is nothing that a file's name should tell of.
fn without_password(url: &str) -> String {
    let whole = || url.to_owned();
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else { return whole() };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{host}{path}")
}

/// FNV-1a with 64 bits: it has to stay the same for ever, and nobody has a reason to attack it.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, kind: &str, content: &impl serde::Serialize) {
        self.bytes(kind.as_bytes());
        self.bytes(&serde_json::to_vec(content).expect("a configuration can be written as JSON"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

const SUFFIX: &str = ".redb";
/// Of the directory, in the file's name.
const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::{stem as place_stem, *};

    fn sql(url: &str, listing: &str, deadline: u64) -> Config {
        let sql = serde_json::json!({
            "url": url, "query": "select 1", "listing": listing, "source": "replica", "deadline": format!("{deadline}s"),
        });
        let sql = Some(serde_json::from_value(sql).unwrap());
        Config { sql, ..Config::default() }
    }

    #[test]
    fn the_file_is_the_same_while_the_content_is() {
        let stem = |name, config: Config| place_stem(name, &config);
        let own = stem("corp", sql("mysql://u@h/d", "select a", 1));
        assert_eq!(own, stem("corp", sql("mysql://u@h/d", "select a", 2)));
        assert_eq!(own, stem("corp", sql("mysql://u:secret@h/d", "select a", 1)));
        assert_eq!(own, stem("corp", sql("mysql://u:p@ss:w@h/d", "select a", 1)));
        for other in [
            stem("corp", sql("mysql://u@h/e", "select a", 1)),
            stem("corp", sql("mysql://u@g/d", "select a", 1)),
            stem("corp", sql("mysql://v@h/d", "select a", 1)),
            stem("corp", sql("mysql://u@h/d", "select b", 1)),
            stem("corp2", sql("mysql://u@h/d", "select a", 1)),
        ] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn any_name_makes_a_file_in_the_directory() {
        let long = "x".repeat(300);
        let longer = format!("{long}y");
        let mut stems: Vec<String> = ["corp", "../corp", "a/b", "", "ä", ".", "%2e", &long, &longer]
            .map(|name| stem(name, &Config::default()))
            .into();
        for stem in &stems {
            assert!(stem.len() < 200 && !stem.contains(['/', '.']), "{stem}");
            assert!(split(&format!("{stem}.redb")).is_some());
        }
        stems.sort();
        stems.dedup();
        assert_eq!(stems.len(), 9);
    }

    #[test]
    fn only_old_files_of_the_same_directory_go() {
        let directory = tempfile::tempdir().unwrap();
        let own = "corp-0123456789abcdef.redb";
        let (stay, go) = (
            [
                own,
                "corp-x-0123456789abcdee.redb",
                "corp.redb",
                "corp-0123456789abcde.redb",
                "x-0123456789abcdee.redb",
            ],
            [
                "corp-0123456789abcdee.redb",
                "corp-0123456789abcdef.redb.damaged",
                "corp-1123456789abcdef.redb.damaged",
            ],
        );
        for file in stay.iter().chain(&go) {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let used = directory.path().join("corp-2123456789abcdef.redb");
        let other_process = fs::File::create(&used).unwrap();
        other_process.lock().unwrap();
        clear_others(&directory.path().join(own));
        assert!(used.exists(), "somebody has it");
        drop(other_process);
        for file in stay {
            assert!(directory.path().join(file).exists(), "{file}");
        }
        for file in go {
            assert!(!directory.path().join(file).exists(), "{file}");
        }
        clear_others(&directory.path().join(own));
        assert!(!used.exists());
    }
}
