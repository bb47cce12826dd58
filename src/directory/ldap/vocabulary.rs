//! Whether a server has the attributes that the administrator names (RFC 4512 §4.2, MS-ADTS §3.1.1.2.3).
//!
//! To a server a misspelt name is one that no entry has: everybody whose address is there would be absent. Failure: a
//! [`Fault`]. A server that does not show its schema is not doubted.

use ldap3::{Ldap, Scope};

use super::{fault::Fault, object::Object};

/// Fails if one of these is none of the server's attributes.
///
/// # Errors
/// [`Fault::Attribute`] with the first that is none; or no answer came that makes sense.
pub(super) async fn check(ldap: &mut Ldap, names: &[String]) -> Result<(), Fault> {
    if names.is_empty() {
        return Ok(());
    }
    let Some(own) = read(ldap, "", Scope::Base, ANYTHING, &[SCHEMA_CONTEXT, SUBSCHEMA]).await?.pop() else {
        return Ok(());
    };
    let known = match (own.text(SCHEMA_CONTEXT), own.text(SUBSCHEMA)) {
        (Some(context), _) => of_active_directory(ldap, context, names).await?,
        (None, Some(subschema)) => of_subschema(ldap, subschema).await?,
        (None, None) => return Ok(()),
    };
    let has = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
    match names.iter().find(|name| !has(name)) {
        Some(name) if has(EVERYWHERE) => Err(Fault::Attribute(name.clone())),
        _ => Ok(()),
    }
}

/// Those of `names` that Active Directory has, which tells all of its 1500 and more only in one long answer.
async fn of_active_directory(ldap: &mut Ldap, context: &str, names: &[String]) -> Result<Vec<String>, Fault> {
    let terms: String = names.iter().map(|name| format!("({DISPLAY_NAME}={name})")).collect();
    let filter = format!("(|({DISPLAY_NAME}={EVERYWHERE}){terms})");
    let objects = read(ldap, context, Scope::OneLevel, &filter, &[DISPLAY_NAME]).await?;
    Ok(objects.iter().filter_map(|object| object.text(DISPLAY_NAME)).map(str::to_owned).collect())
}

async fn of_subschema(ldap: &mut Ldap, subschema: &str) -> Result<Vec<String>, Fault> {
    let objects = read(ldap, subschema, Scope::Base, "(objectClass=subschema)", &[TYPES]).await?;
    let types = objects.iter().flat_map(|object| object.values(TYPES));
    Ok(types.filter_map(|described| str::from_utf8(described).ok()).flat_map(names_in).collect())
}

/// What is found; nothing, where that can't be read.
async fn read(
    ldap: &mut Ldap,
    base: &str,
    scope: Scope,
    filter: &str,
    attributes: &[&str],
) -> Result<Vec<Object>, Fault> {
    let found = ldap.search(base, scope, filter, attributes).await?;
    Ok(found.0.into_iter().filter_map(Object::read).collect())
}

/// The names in `( 2.5.4.3 NAME ( 'cn' 'commonName' ) SUP name … )` or `( 2.5.4.41 NAME 'name' … )` (RFC 4512 §4.1.2).
fn names_in(described: &str) -> Vec<String> {
    let Some((_, rest)) = described.split_once(" NAME ") else { return Vec::new() };
    let quoted = match rest.trim_start().strip_prefix('(') {
        Some(list) => list.split(')').next().unwrap_or_default(),
        None => return rest.split('\'').nth(1).map(str::to_owned).into_iter().collect(),
    };
    quoted.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

const ANYTHING: &str = "(objectClass=*)";
const SCHEMA_CONTEXT: &str = "schemaNamingContext";
const SUBSCHEMA: &str = "subschemaSubentry";
const DISPLAY_NAME: &str = "lDAPDisplayName";
const TYPES: &str = "attributeTypes";
/// Every schema has it, if it can be read at all.
const EVERYWHERE: &str = "objectClass";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_attribute_type() {
        // RFC 4519 §2.3, §2.18; one without a name (RFC 4512 §4.1.2 has it as optional); Active Directory's way
        for (described, names) in [
            (
                "( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'RFC4519: it\\27s (a) NAME ' SUP name )",
                &["cn", "commonName"][..],
            ),
            ("( 2.5.4.41 NAME 'name' DESC 'RFC4519' EQUALITY caseIgnoreMatch X-ORIGIN 'x' )", &["name"]),
            (
                "( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' SYNTAX '1.3.6.1.4.1.1466.115.121.1.15' )",
                &["proxyAddresses"],
            ),
            ("( 1.2.3 SYNTAX 1.3.6 )", &[]),
            ("( 1.2.3 NAME 'broken", &["broken"]),
            ("( 1.2.3 NAME ", &[]),
            ("", &[]),
        ] {
            assert_eq!(names_in(described), names, "{described}");
        }
    }
}
