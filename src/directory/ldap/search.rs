//! One question on one connection (RFC 4511 §4.5), and what came of it.
//!
//! It takes no more entries than one address can have, and sets no time limit but the server's own. Failure: every result
//! but success is a [`Fault`]; an empty answer is one as well if the account can see no recipient at all.

use std::time::Duration;

use ldap3::{DerefAliases, Ldap, ResultEntry, Scope, SearchOptions};

use super::{
    fault::{Code, Fault},
    object::Object,
};

/// What to ask.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) base: String,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
    /// For the server: it need not go on longer than anybody waits.
    pub(super) time: Duration,
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) objects: Vec<Object>,
    /// URLs of other servers that may know more; of several that are as good as each other, the first.
    pub(super) references: Vec<String>,
    /// There was more than the server would send.
    pub(super) is_cut_short: bool,
}

impl Question {
    /// Asks it.
    pub(super) async fn ask(&self, ldap: &mut Ldap) -> Result<Found, Fault> {
        self.search(ldap, (&self.base, Scope::Subtree), &self.filter, MOST_ENTRIES).await
    }

    /// The name of an entry that can be seen, and that `filter` finds: `known` if it still is one, for a server may go through
    /// all that it has to find another. Rights that hide all recipients look like a directory without any.
    ///
    /// # Errors
    /// [`Fault::Blind`] if there is none.
    pub(super) async fn sight(
        &self,
        ldap: &mut Ldap,
        filter: &str,
        known: Option<String>,
    ) -> Result<String, Fault> {
        if let Some(known) = known {
            match self.search(ldap, (&known, Scope::Base), filter, 1).await {
                Ok(found) if !found.objects.is_empty() => return Ok(known),
                Ok(_) | Err(Fault::Base(..)) => {}
                Err(fault) => return Err(fault),
            }
        }
        let found = self.search(ldap, (&self.base, Scope::Subtree), filter, 1).await?;
        found.objects.into_iter().next().map(|object| object.dn).ok_or(Fault::Blind)
    }

    /// Whether the server says that it is an Active Directory (MS-ADTS 3.1.1.3.2, 3.1.1.3.4.3.1). One that tells nothing of
    /// itself is none.
    ///
    /// # Errors
    /// When no answer came that makes sense.
    pub(super) async fn is_active_directory(ldap: &mut Ldap) -> Result<bool, Fault> {
        let found = ldap.search("", Scope::Base, "(objectClass=*)", [CAPABILITIES]).await?;
        let own = found.0.into_iter().filter_map(Object::read).next();
        Ok(own.is_some_and(|own| own.values(CAPABILITIES).any(|value| value == ACTIVE_DIRECTORY)))
    }

    /// No more than `most` entries. Samba sends all that it has, whatever limit it is told, and is told to stop.
    async fn search(
        &self,
        ldap: &mut Ldap,
        (base, scope): (&str, Scope),
        filter: &str,
        most: usize,
    ) -> Result<Found, Fault> {
        let seconds = self.time.as_secs_f64().ceil().max(1.0);
        let options = SearchOptions::new().deref(DerefAliases::Never);
        #[expect(clippy::cast_possible_truncation, reason = "a deadline of seconds, and a few entries")]
        #[expect(clippy::cast_possible_wrap, reason = "a deadline of seconds, and a few entries")]
        ldap.with_search_options(options.sizelimit(most as i32).timelimit(seconds as i32));
        let attributes: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let mut stream = ldap.streaming_search(base, scope, filter, attributes).await?;
        let mut found = Found::default();
        let mut entries = 0;
        while let Some(item) = stream.next().await? {
            entries += 1;
            if entries > MOST_ITEMS {
                return Err(Fault::TooMany);
            }
            if item.is_ref() {
                found.references.push(reference(item).ok_or(Fault::Malformed)?);
            } else if found.objects.len() == most && !item.is_intermediate() {
                let search = stream.ldap_handle().last_id();
                ldap.abandon(search).await?;
                return Ok(Found { is_cut_short: true, ..found });
            } else if !item.is_intermediate() {
                found.objects.push(Object::read(item).ok_or(Fault::Malformed)?);
            }
        }
        let result = stream.finish().await;
        match result.rc {
            SUCCESS => Ok(found),
            SIZE_LIMIT if !found.objects.is_empty() => Ok(Found { is_cut_short: true, ..found }),
            REFERRAL => {
                found.references.extend(result.refs.into_iter().next());
                if found.references.is_empty() { Err(Fault::Malformed) } else { Ok(found) }
            }
            NO_SUCH_OBJECT => Err(Fault::Base(base.to_owned(), Code::of(&result))),
            _ => Err(Fault::Search(Code::of(&result))),
        }
    }
}

/// `SearchResultReference ::= [APPLICATION 19] SEQUENCE SIZE (1..MAX) OF uri URI`
fn reference(item: ResultEntry) -> Option<String> {
    let uri = item.0.expect_constructed()?.into_iter().next()?.expect_primitive()?;
    Some(String::from_utf8_lossy(&uri).into_owned())
}

const CAPABILITIES: &str = "supportedCapabilities";
const ACTIVE_DIRECTORY: &[u8] = b"1.2.840.113556.1.4.800";

const SUCCESS: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const REFERRAL: u32 = 10;
const NO_SUCH_OBJECT: u32 = 32;

/// Asked for. One address belongs to one entry, or by mistake to a few.
const MOST_ENTRIES: usize = 20;
/// Entries and references that are taken from a server that sends more than was asked for.
const MOST_ITEMS: usize = 100;
