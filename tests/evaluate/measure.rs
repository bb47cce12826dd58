//! Labelled names, and how the classes of clients do on them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use backstop::{client::Names, policy::ClientClass};

/// A client with the name of its address, and what a person says of it.
#[derive(Debug, Clone)]
pub struct Pair {
    pub client: IpAddr,
    pub name: String,
    pub label: Label,
}

/// See labels.txt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A line of somebody's home or office.
    Access,
    /// Such a line, which says itself that it is fixed.
    Static,
    /// A server.
    Server,
}

/// The half of the domains that a rule may be made by, and the half that it is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    Tuning,
    HeldOut,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Lines, and how many of them are `dynamic` and `generic`.
    pub access: usize,
    pub dynamic: usize,
    pub generic: Vec<String>,
    /// Servers, and those of them that are `dynamic` and `generic`, with the rule.
    pub servers: usize,
    pub refused: Vec<String>,
    pub suspected: Vec<String>,
    /// Fixed lines, and those of them that are `dynamic`.
    pub fixed: usize,
    pub fixed_refused: Vec<String>,
    /// Lines that pass for servers.
    pub missed: Vec<String>,
}

/// `ADDRESS NAME LABEL`, one a line, `#` comments.
pub fn read(text: &str) -> Vec<Pair> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [client, name, label] = words[..] else { panic!("not ADDRESS NAME LABEL: {line}") };
            let label = match label {
                "access" => Label::Access,
                "static" => Label::Static,
                "server" => Label::Server,
                _ => panic!("no such label: {line}"),
            };
            let client = client.parse().unwrap_or_else(|_| panic!("no address: {line}"));
            Pair { client, name: name.to_owned(), label }
        })
        .collect()
}

/// All names of a registrable domain are in the same half, so that no rule is judged by the provider it was made for.
pub fn half(name: &str) -> Half {
    let domain = psl::domain_str(name).unwrap_or(name);
    // FNV-1a: the same everywhere and always.
    let hash = domain.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The lowest bits of this hash are those of the letters.
    if (hash >> 32) & 1 == 0 { Half::Tuning } else { Half::HeldOut }
}

/// Judges all, by halves.
pub fn measure(pairs: &[Pair]) -> BTreeMap<Half, Measured> {
    let names = Names::default();
    let mut halves: BTreeMap<Half, Measured> = BTreeMap::new();
    for Pair { client, name, label } in pairs {
        let of_half = halves.entry(half(name)).or_default();
        let judged = names.judge(*client, name);
        let told = || format!("{client} {name}: {}", judged.rule);
        match label {
            Label::Access => {
                of_half.access += 1;
                match judged.class {
                    ClientClass::Dynamic => of_half.dynamic += 1,
                    ClientClass::Generic => of_half.generic.push(told()),
                    _ => of_half.missed.push(told()),
                }
            }
            Label::Static => {
                of_half.fixed += 1;
                if judged.class == ClientClass::Dynamic {
                    of_half.fixed_refused.push(told());
                }
            }
            Label::Server => {
                of_half.servers += 1;
                match judged.class {
                    ClientClass::Dynamic => of_half.refused.push(told()),
                    ClientClass::Generic => of_half.suspected.push(told()),
                    _ => {}
                }
            }
        }
    }
    halves
}

impl Measured {
    /// The share of the lines that is found, as `dynamic`, and as that or `generic`; in per cent.
    pub fn recall(&self) -> (f64, f64) {
        let share = |found: usize| 100.0 * found as f64 / self.access.max(1) as f64;
        (share(self.dynamic), share(self.dynamic + self.generic.len()))
    }
}

/// A row of the table in docs/client-classes.md.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dynamic, either) = self.recall();
        let (refused, suspected) = (self.refused.len(), self.suspected.len());
        let (access, servers, fixed, fixed_refused) =
            (self.access, self.servers, self.fixed, self.fixed_refused.len());
        write!(
            f,
            "{access} | {dynamic:.1} % | {either:.1} % | {servers} | {refused} | {suspected} | {fixed} | {fixed_refused}"
        )
    }
}
