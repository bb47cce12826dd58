//! What a feed looks at: the recipients below a base.

use std::time::SystemTime;

use ldap3::Scope;

use super::{
    End,
    cookie::{Kind, Mark},
    link::{BULK, Link, Query, RootDse, id_of, within},
    names::{context_of, same},
};
use crate::directory::{
    ldap::{
        Config, Schema, SuspendedWhen,
        filter::Filter,
        object::{Object, complete},
        referral::Referral,
        schema::Shape,
    },
    replica::{ObjectId, Recipient},
};

/// What is looked at, and what is made of it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) base: String,
    /// Who is a recipient.
    pub(super) filter: String,
    shape: Shape,
    /// Not every entry with an address is a recipient. What such a filter asks for may change without a change of the entry:
    /// `memberOf` is what a group says.
    pub(super) is_filtered: bool,
    /// Who is a recipient, or what goes for him, changes with time alone, or with other entries: no feed tells of that.
    pub(super) drifts: bool,
    /// Addresses are looked for where Active Directory has them, or where the administrator says.
    pub(super) fits_active_directory: bool,
}

impl Subject {
    /// What the configuration describes.
    pub(super) fn new(config: &Config, shape: Shape) -> Self {
        let filters = [&config.filter, &config.suspended_filter, &config.restricted_filter];
        let ages = config.suspended_when.contains(&SuspendedWhen::Expired);
        Self {
            base: config.base.clone(),
            filter: shape.all(),
            shape,
            is_filtered: config.filter.is_some(),
            drifts: ages || filters.into_iter().any(Option::is_some),
            fits_active_directory: config.schema == Schema::ActiveDirectory || config.attributes.is_some(),
        }
    }

    /// The attributes that the server has to have.
    pub(super) fn named(&self) -> &[String] {
        self.shape.named()
    }

    /// The search for all of it.
    pub(super) fn query<'a>(&'a self, attributes: &'a [&'a str]) -> Query<'a> {
        Query { base: &self.base, scope: Scope::Subtree, filter: &self.filter, attributes }
    }

    /// The attributes to ask for: what makes recipients, and what the directory itself calls an object.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let own = self.shape.wanted().iter().map(String::as_str);
        own.chain(["entryUUID", "objectGUID"]).collect()
    }

    /// The attributes in which a change may be one of recipients, and those that tell of moves and deletions.
    pub(super) fn watched(&self) -> Vec<String> {
        let mut all = self.shape.wanted().to_vec();
        if let Ok(filter) = Filter::parse(&self.filter) {
            filter.attributes(&mut all);
        }
        all.extend(["name", "objectClass", "isDeleted"].map(str::to_owned));
        // Some servers refuse a name that is given twice.
        all.sort_by_key(|name| name.to_ascii_lowercase());
        all.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
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
        Mark::new(kind, &(&self.base, &self.filter, self.shape.wanted()), server)
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
        self.shape.recipients(object, SystemTime::now())
    }

    /// Whether an entry that the filter finds shows whom it stands for.
    pub(super) fn is_shown(&self, object: &Object) -> bool {
        self.shape.is_shown(object)
    }

    /// Whether a part of the directory on another server may hold recipients. `reference` is an LDAP URL (RFC 4516).
    pub(super) fn may_be_at(&self, reference: &str) -> bool {
        !Referral::parse(reference).is_some_and(|referral| self.shape.is_aside(&referral.base))
    }
}
