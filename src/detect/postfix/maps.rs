//! Postfix' lookup tables (DATABASE_README, postmap(1)): which can be listed, and how.

use std::path::{Path, PathBuf};

use super::conf::split;
use crate::detect::{Evidence, How, Partial, Source};

/// A table as a parameter names it: `proxy:hash:/etc/postfix/virtual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Map<'a> {
    /// As written.
    pub whole: &'a str,
    /// Without `proxy:`.
    pub kind: &'a str,
    /// Without `proxy:` and the type.
    pub name: &'a str,
}

impl<'a> Map<'a> {
    pub(super) fn parse(whole: &'a str) -> Self {
        let mut rest = whole;
        while let Some(inner) = rest.strip_prefix("proxy:") {
            rest = inner;
        }
        let (kind, name) = rest.split_once(':').unwrap_or(("", rest));
        Self { whole, kind, name }
    }

    pub(super) fn list(value: &'a str) -> Vec<Self> {
        split(value).into_iter().map(Self::parse).collect()
    }

    /// How its entries are had; [`Partial`] where they can't be.
    pub(super) fn how(&self, parameter: &str, tools: &Tools) -> Result<How, Partial> {
        let unlistable =
            || Partial::Unlistable { parameter: parameter.to_owned(), map: self.whole.to_owned() };
        let path = || {
            let path = PathBuf::from(self.name);
            if path.is_absolute() { Ok(path) } else { Err(unlistable()) }
        };
        match self.kind {
            "hash" | "btree" | "lmdb" | "dbm" | "sdbm" | "texthash" => path().map(|_| tools.postmap(self)),
            "inline" => Ok(tools.postmap(self)),
            "cdb" => Ok(How::Cdb(suffixed(&path()?, "cdb"))),
            "pcre" => path().map(How::Pcre),
            "regexp" => path().map(How::Regexp),
            "static" => Ok(How::Everything),
            "unix" if self.name == "passwd.byname" => Ok(How::SystemUsers),
            _ => Err(unlistable()),
        }
    }

    /// Never has an entry for a mail address: `cidr:` tables match network addresses.
    pub(super) fn never_matches(&self) -> bool {
        self.kind == "cidr"
    }

    /// The files whose change changes the table.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let path = Path::new(self.name);
        if !path.is_absolute() {
            return Vec::new();
        }
        let index: &[&str] = match self.kind {
            "hash" | "btree" => &["db"],
            "lmdb" => &["lmdb"],
            "cdb" => &["cdb"],
            "dbm" | "sdbm" => &["dir", "pag"],
            "texthash" | "pcre" | "regexp" | "cidr" => return vec![path.to_owned()],
            _ => return Vec::new(),
        };
        index.iter().map(|suffix| suffixed(path, suffix)).collect()
    }

    /// The text that an index is made of.
    pub(super) fn text(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.name);
        matches!(self.kind, "hash" | "btree" | "lmdb" | "cdb" | "dbm" | "sdbm").then_some(path)
    }

    pub(super) fn source(&self, parameter: &str, how: How, evidence: &Evidence) -> Source {
        let evidence = Evidence { what: parameter.to_owned(), ..evidence.clone() };
        Source { name: self.whole.to_owned(), evidence, how }
    }
}

/// Postfix' programs for one configuration directory.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub postmap: PathBuf,
    pub directory: PathBuf,
}

impl Tools {
    /// The arguments before any other.
    pub(super) fn config(&self) -> Vec<String> {
        vec!["-c".to_owned(), self.directory.display().to_string()]
    }

    fn postmap(&self, map: &Map<'_>) -> How {
        let mut arguments = self.config();
        arguments.extend(["-s".to_owned(), format!("{}:{}", map.kind, map.name)]);
        How::Listed { program: self.postmap.clone(), arguments }
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DATABASE_README and postmap(1) for each type.
    #[test]
    fn every_type() {
        let tools = Tools { postmap: "pm".into(), directory: "/etc/postfix".into() };
        let how = |map: &str| Map::parse(map).how("virtual_alias_maps", &tools);
        for listed in ["hash:/a", "btree:/a", "lmdb:/a", "dbm:/a", "sdbm:/a", "texthash:/a", "inline:{a=b}"] {
            for map in [listed.to_owned(), format!("proxy:{listed}")] {
                let expected = How::Listed {
                    program: "pm".into(),
                    arguments: ["-c", "/etc/postfix", "-s", listed].map(str::to_owned).to_vec(),
                };
                assert_eq!(how(&map), Ok(expected), "{map}");
            }
        }
        assert_eq!(how("cdb:/a"), Ok(How::Cdb("/a.cdb".into())));
        assert_eq!(how("pcre:/a"), Ok(How::Pcre("/a".into())));
        assert_eq!(how("regexp:/a"), Ok(How::Regexp("/a".into())));
        assert_eq!(how("static:all"), Ok(How::Everything));
        assert_eq!(how("proxy:unix:passwd.byname"), Ok(How::SystemUsers));
        for unlistable in [
            "ldap:/a",
            "mysql:/a",
            "pgsql:/a",
            "sqlite:/a",
            "nis:mail.aliases",
            "tcp:localhost:10002",
            "netinfo:/x",
            "socketmap:inet:h:1:x",
            "memcache:/a",
            "unionmap:{hash:/a}",
            "pipemap:{hash:/a}",
            "randmap:{a,b}",
            "fail:x",
            "environ:",
            "unix:group.byname",
            "proxy:mysql:/a",
            "hash:relative",
            "pcre:{{/a/ b}}",
            "/a",
            "nope",
        ] {
            let expected =
                Partial::Unlistable { parameter: "virtual_alias_maps".into(), map: unlistable.into() };
            assert_eq!(how(unlistable), Err(expected), "{unlistable}");
        }
    }

    #[test]
    fn the_index_is_watched() {
        let files = |map: &str| Map::parse(map).files();
        assert_eq!(files("proxy:hash:/a"), [PathBuf::from("/a.db")]);
        assert_eq!(files("lmdb:/a"), [PathBuf::from("/a.lmdb")]);
        assert_eq!(files("texthash:/a"), [PathBuf::from("/a")]);
        assert_eq!(files("inline:{a=b}"), Vec::<PathBuf>::new());
    }
}
