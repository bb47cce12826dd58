//! What a client looks like: its class, and the rule that says so.
//!
//! The DNS is asked with a deadline, and remembered (see `lookups`); what it said is judged here, by what files and
//! configuration say now. Failure: class `unknown`. Nobody is `dynamic` as long as it could not be found out
//! whether an exception applies.

use std::{net::IpAddr, sync::Arc, time::Instant};

use super::{
    Dynamic, Names, Networks,
    dns_list::Listing,
    listed::Listed,
    lookups::{Confirmed, Lookups, Name, Reverse, Seen, host_name},
    networks::is_private,
};
use crate::policy::ClientClass;

/// Tells classes of clients.
#[derive(Debug)]
pub struct Classifier {
    lookups: Arc<Lookups>,
    names: Names,
    networks: Option<Listed>,
    excepted: Networks,
    excepts_names: bool,
    judges_names: bool,
    judges_private: bool,
}

/// What else is known of the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hint<'a> {
    /// Taken for the name of the address, confirmed: the DNS is not asked for it. For `backstop check --name`.
    pub name: Option<&'a str>,
    /// What the client calls itself.
    pub helo: Option<&'a str>,
}

/// A class with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// What it looks like.
    pub class: ClientClass,
    /// Its name, where the DNS confirms it both ways; what it calls itself, where that made it a server.
    pub name: Option<String>,
    /// On a list of good clients.
    pub is_welcome: bool,
    /// The rules that led to it, one line each.
    pub evidence: Vec<String>,
}

impl Classifier {
    pub(super) fn new(
        config: &Dynamic,
        lookups: Arc<Lookups>,
        names: Names,
        networks: Option<Listed>,
    ) -> Self {
        Self {
            lookups,
            names,
            networks,
            excepted: config.excepted_networks().map(|network| network.0).collect(),
            excepts_names: config.excepts_names(),
            judges_names: config.reverse_dns,
            judges_private: config.private,
        }
    }

    /// The class of this address; takes no longer than its deadline.
    pub async fn classify(&self, client: IpAddr, hint: Hint<'_>) -> Classified {
        let client = client.to_canonical();
        if !self.judges_private && is_private(client) {
            return Classified::without_dns(ClientClass::Unknown, "a private address, it is not judged");
        }
        if self.excepted.contains(client) {
            return Classified::without_dns(ClientClass::Server, "its network is in client.dynamic.except");
        }
        let deadline = Instant::now() + self.lookups.deadline();
        let seen = match hint.name {
            None => self.lookups.seen(client).await,
            Some(name) => Arc::new(self.lookups.seen_as(client, name).await),
        };
        let mut judged = self.judge(client, &seen);
        if let Some(helo) = hint.helo.and_then(host_name)
            && self.may_help(client, &helo, &judged)
        {
            let confirmed = self.lookups.confirm(&helo, client, deadline).await;
            judged.weigh(&helo, confirmed);
        }
        judged.classified(&seen, self.lookups.explain(&seen), self.lookups.origin(&seen))
    }

    pub(super) fn networks(&self) -> Option<&Listed> {
        self.networks.as_ref()
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// What all that is known makes of a client. Asks nobody.
    fn judge(&self, client: IpAddr, seen: &Seen) -> Judgement {
        let names = seen.reverse.names();
        let excepted = |confirmed: Confirmed| {
            let mut names = names.iter().filter(|name| name.is_confirmed == confirmed);
            names.find_map(|name| Some((name, self.names.excepted(&name.text)?)))
        };
        if let Some((name, entry)) = excepted(Confirmed::Yes) {
            return Judgement::plain(
                ClientClass::Server,
                format!("{} is in client.dynamic.except ({entry})", name.text),
            );
        }
        if seen.good.iter().any(|listing| matches!(listing, Listing::Listed(_))) {
            return Judgement::plain(ClientClass::Server, "it is on a list of good clients".to_owned());
        }
        let mut judged = if let Some(line) = self.networks.as_ref().and_then(|list| list.explain(client)) {
            Judgement::plain(ClientClass::Dynamic, line)
        } else if seen.bad.iter().any(|listing| matches!(listing, Listing::Listed(_))) {
            Judgement::plain(ClientClass::Dynamic, "a list in client.dynamic.dnsbl has it".to_owned())
        } else if self.judges_names {
            let (class, why) = self.by_name(client, &seen.reverse);
            Judgement { class, why, is_by_name: true, helo: None }
        } else {
            Judgement::plain(ClientClass::Unknown, "no list has it, and its name is not judged".to_owned())
        };
        // Not even one that a list names is refused while an exception is in doubt.
        let is_unread = matches!(seen.reverse, Reverse::Unknown | Reverse::Many);
        if self.excepts_names && (excepted(Confirmed::Unknown).is_some() || is_unread) {
            judged.doubt("its name is in client.dynamic.except");
        }
        if seen.good.iter().any(|listing| listing.is_unknown()) {
            judged.doubt("it is on a list of good clients");
        }
        judged
    }

    /// What its names make of a client: the best of those that are confirmed; where none is, what they say against it.
    fn by_name(&self, client: IpAddr, reverse: &Reverse) -> (ClientClass, String) {
        let names = match reverse {
            Reverse::Names(names) => names,
            Reverse::Unnamed => return (ClientClass::Unnamed, "its address has no name".to_owned()),
            Reverse::Many => return (ClientClass::Server, "its address has many names".to_owned()),
            Reverse::Unknown | Reverse::Unasked => {
                return (ClientClass::Unknown, "its name could not be found out".to_owned());
            }
        };
        let best = |confirmed: Confirmed| {
            let names = names.iter().filter(|name| name.is_confirmed == confirmed);
            let judged = names.map(|name| (self.names.judge(client, &name.text), name));
            judged.min_by_key(|(judged, _)| rank(judged.class))
        };
        let line = |name: &Name, rule: &dyn std::fmt::Display| format!("{}: {rule}", name.text);
        let confirmed = best(Confirmed::Yes).map(|(judged, name)| (judged.class, line(name, &judged.rule)));
        let open = best(Confirmed::Unknown).map(|(judged, name)| (judged.class, line(name, &judged.rule)));
        let refuted = best(Confirmed::No).map(|(judged, name)| (judged.class, line(name, &judged.rule)));
        // A name that is not confirmed speaks for nobody, and nobody is judged while a better one may be confirmed.
        let is_open = |than: ClientClass| open.as_ref().is_some_and(|(class, _)| rank(*class) < rank(than));
        let is_confirmed = confirmed.is_some();
        match confirmed.or(refuted).or_else(|| open.clone()) {
            None => (ClientClass::Unnamed, "what its address is called is no name of a host".to_owned()),
            Some((class, line)) if is_open(class) => {
                (ClientClass::Unknown, format!("{line}; whether it has a better name could not be found out"))
            }
            Some((ClientClass::Server, line)) if is_confirmed => (ClientClass::Server, line),
            Some((ClientClass::Server, _)) if open.is_some() => {
                (ClientClass::Unknown, "whether its name leads back to it could not be found out".to_owned())
            }
            Some((ClientClass::Server, _)) => {
                (ClientClass::Unnamed, "its name does not lead back to it".to_owned())
            }
            Some(found) => found,
        }
    }

    /// Whether the DNS is to be asked if the client is what it calls itself.
    fn may_help(&self, client: IpAddr, helo: &str, judged: &Judgement) -> bool {
        use ClientClass::{Dynamic, Generic, Unnamed};
        matches!(judged.class, Dynamic | Generic | Unnamed)
            && (self.names.excepted(helo).is_some()
                || (judged.is_by_name && self.names.vouches(client, helo)))
    }
}

/// A class, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judgement {
    class: ClientClass,
    why: String,
    /// By nothing but the name of the address, against which another name can help.
    is_by_name: bool,
    /// What it calls itself, if that is confirmed and outweighs the name of its address.
    helo: Option<String>,
}

impl Judgement {
    fn plain(class: ClientClass, why: String) -> Self {
        Self { class, why, is_by_name: false, helo: None }
    }

    /// It could not be found out whether `exception` holds.
    fn doubt(&mut self, exception: &str) {
        if self.class == ClientClass::Dynamic {
            self.class = ClientClass::Unknown;
            self.why = format!("{}, but whether {exception} could not be found out", self.why);
        }
    }

    /// What the client calls itself, and whether that leads back to it.
    fn weigh(&mut self, helo: &str, confirmed: Confirmed) {
        match confirmed {
            Confirmed::Yes => {
                self.class = ClientClass::Server;
                self.why = format!("{}, but it is {helo}, as it says", self.why);
                self.helo = Some(helo.to_owned());
            }
            Confirmed::No => self.why = format!("{}, and it is not {helo}, as it says", self.why),
            Confirmed::Unknown => self.doubt(&format!("it is {helo}, as it says,")),
        }
    }

    fn classified(self, seen: &Seen, lists: Vec<String>, origin: Option<String>) -> Classified {
        let names = seen.reverse.names();
        let named = names.iter().map(|name| {
            let how = match name.is_confirmed {
                Confirmed::Yes => "leads back to it",
                Confirmed::No => "does not lead back to it",
                Confirmed::Unknown => "could not be confirmed",
            };
            format!("its name {} {how}", name.text)
        });
        let is_welcome = seen.good.iter().any(|listing| matches!(listing, Listing::Listed(_)));
        let name = names.iter().find(|name| name.is_confirmed == Confirmed::Yes);
        Classified {
            class: self.class,
            // The name of its address has its provider's domain in common with all others there.
            name: self.helo.or_else(|| name.map(|name| name.text.clone())),
            is_welcome,
            evidence: named.chain(lists).chain([self.why]).chain(origin).collect(),
        }
    }
}

impl Classified {
    fn without_dns(class: ClientClass, why: &str) -> Self {
        Self { class, name: None, is_welcome: false, evidence: vec![why.to_owned()] }
    }
}

/// The better comes first.
fn rank(class: ClientClass) -> u8 {
    match class {
        ClientClass::Trusted | ClientClass::Server => 0,
        ClientClass::Generic => 1,
        ClientClass::Dynamic => 2,
        ClientClass::Unnamed | ClientClass::Unknown => 3,
    }
}

#[cfg(test)]
mod tests;
