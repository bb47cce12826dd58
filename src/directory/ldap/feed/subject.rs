//! What a feed looks at: the recipients below a base.

use ldap3::Scope;

use super::{
    End,
    cookie::{Kind, Mark},
    link::{BULK, Link, Query, RootDse, id_of, within},
    names::{attributes_of_filter, context_of, same},
};
use crate::directory::{
    ldap::{
        Config,
        object::{Object, complete},
    },
    replica::{ObjectId, Recipient},
};

/// What is looked at, and what is made of it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) base: String,
    /// Who is a recipient.
    pub(super) filter: String,
    /// What tells his addresses, and what else goes for him.
    attributes: Vec<String>,
}

impl Subject {
    /// What the configuration describes.
    pub(super) fn build(config: &Config) -> Self {
        Self {
            base: config.base.clone(),
            filter: "(|(mail=*)(proxyAddresses=*))".to_owned(),
            attributes: ["mail", "proxyAddresses", "userAccountControl"].map(str::to_owned).to_vec(),
        }
    }

    /// The search for all of it.
    pub(super) fn query<'a>(&'a self, attributes: &'a [&'a str]) -> Query<'a> {
        Query { base: &self.base, scope: Scope::Subtree, filter: &self.filter, attributes }
    }

    /// The attributes to ask for: what makes recipients, and what the directory itself calls an object.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let own = self.attributes.iter().map(String::as_str);
        own.chain(["entryUUID", "objectGUID"]).collect()
    }

    /// The attributes in which a change may be one of recipients, and those that tell of moves and deletions.
    pub(super) fn watched(&self) -> Vec<String> {
        let mut all = attributes_of_filter(&self.filter);
        all.extend(self.attributes.iter().cloned());
        all.extend(["name", "objectClass", "isDeleted"].map(str::to_owned));
        all
    }

    /// The naming context that the base is in.
    pub(super) fn context(&self, server: &RootDse) -> Option<String> {
        let contexts: Vec<_> = server.all("namingContexts").map(str::to_owned).collect();
        context_of(&self.base, &contexts).map(str::to_owned)
    }

    /// Whether parts of the tree can come below the base, or leave it, as a whole.
    pub(super) fn is_part_of(&self, context: &str) -> bool {
        !same(&self.base, context)
    }

    /// The mark of a feed's cookies.
    pub(super) fn mark(&self, kind: Kind, server: &[u8]) -> Mark {
        Mark::new(kind, &(&self.base, &self.filter, &self.attributes), server)
    }

    /// Who these are. What a server keeps back of long lists is fetched.
    pub(super) async fn read(
        &self,
        link: &mut Link,
        objects: Vec<Object>,
    ) -> Result<Vec<(ObjectId, Vec<Recipient>)>, End> {
        let mut all = Vec::with_capacity(objects.len());
        for mut object in objects {
            within(BULK, complete(&mut link.ldap, &mut object)).await??;
            all.push((id_of(&object), self.recipients(&object)));
        }
        Ok(all)
    }

    /// Who this is.
    pub(super) fn recipients(&self, object: &Object) -> Vec<Recipient> {
        let addresses = object.values("mail").chain(object.values("proxyAddresses"));
        let addresses = addresses.filter_map(|value| {
            let value = str::from_utf8(value).ok()?;
            let value = match value.split_once(':') {
                Some((prefix, value)) if prefix.eq_ignore_ascii_case("smtp") => value,
                Some(_) => return None,
                None => value,
            };
            crate::directory::Entry::from_name(value).ok()
        });
        addresses.map(|entry| Recipient { entry, attributes: Default::default() }).collect()
    }
}
