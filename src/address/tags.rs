//! Tags that forwarders and bounce signers put around a local part, undone: SRS and BATV.
//!
//! It never checks a hash: that is for the system that made it. Failure answer: `None`, the local part has no tag.

/// A local part found inside a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untagged<'a> {
    /// Which tag it was.
    pub scheme: Scheme,
    /// The local part inside; never empty.
    pub local: &'a str,
    /// The domain that the tag names; `None`: the domain stays.
    pub domain: Option<&'a str>,
}

/// The tags that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `prvs=KDDDSSSSSS=local`, draft-levine-smtp-batv.
    Batv,
    /// `msprvs1=tag=local`, BATV as Momentum (SparkPost) writes it.
    Momentum,
    /// `btv1==hash==local`, Barracuda's bounce suppression.
    Barracuda,
    /// `SRS0=hash=time=domain=local`, Sender Rewriting Scheme.
    Srs0,
    /// `SRS1=hash=forwarder==hash=time=domain=local`, SRS forwarded once more.
    Srs1,
}

/// Undoes one tag, in any case.
pub fn untag(local: &str) -> Option<Untagged<'_>> {
    // The case differs in the wild, and the local part may come folded.
    let after = |tag: &str| {
        let (start, rest) = local.split_at_checked(tag.len())?;
        start.eq_ignore_ascii_case(tag).then_some(rest)
    };
    let batv = || batv(after("prvs=")?);
    let momentum = || momentum(after("msprvs1=")?);
    let barracuda = || barracuda(after("btv1==")?);
    let srs0 = || srs0(after("srs0")?, Scheme::Srs0);
    let srs1 = || srs1(after("srs1")?);
    let undone = batv().or_else(momentum).or_else(barracuda).or_else(srs0).or_else(srs1)?;
    (!undone.local.is_empty()).then_some(undone)
}

/// `KDDDSSSSSS=local`, and the older order `local/KDDDSSSSSS` (draft-levine-mass-batv-00) or `local=KDDDSSSSSS`.
fn batv(rest: &str) -> Option<Untagged<'_>> {
    let in_front = rest.split_once('=').filter(|(tag, _)| is_batv_tag(tag)).map(|(_, local)| local);
    let behind = || rest.rsplit_once(['=', '/']).filter(|(_, tag)| is_batv_tag(tag)).map(|(local, _)| local);
    Some(Untagged { scheme: Scheme::Batv, local: in_front.or_else(behind)?, domain: None })
}

/// Key number, day and six digits of the hash: ten digits in the draft. Products differ, so 8 to 16 hex digits.
fn is_batv_tag(tag: &str) -> bool {
    (8..=16).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `tag=local`
fn momentum(rest: &str) -> Option<Untagged<'_>> {
    let (tag, local) = rest.split_once('=')?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_tag.then_some(Untagged { scheme: Scheme::Momentum, local, domain: None })
}

/// `hash==local`
fn barracuda(rest: &str) -> Option<Untagged<'_>> {
    let (hash, local) = rest.split_once("==")?;
    let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_hash.then_some(Untagged { scheme: Scheme::Barracuda, local, domain: None })
}

/// `=hash=time=domain=local`; the first separator may be `+` or `-`.
fn srs0(rest: &str, scheme: Scheme) -> Option<Untagged<'_>> {
    let mut parts = after_separator(rest)?.splitn(4, '=');
    let (hash, time) = (parts.next()?, parts.next()?);
    let (domain, local) = (parts.next()?, parts.next()?);
    let whole = !hash.is_empty() && !time.is_empty() && !domain.is_empty();
    whole.then_some(Untagged { scheme, local, domain: Some(domain) })
}

/// `=hash=forwarder=` and then what followed `SRS0`, with its separator.
fn srs1(rest: &str) -> Option<Untagged<'_>> {
    let mut parts = after_separator(rest)?.splitn(3, '=');
    let (hash, forwarder) = (parts.next()?, parts.next()?);
    if hash.is_empty() || forwarder.is_empty() {
        return None;
    }
    srs0(parts.next()?, Scheme::Srs1)
}

fn after_separator(rest: &str) -> Option<&str> {
    rest.strip_prefix(['=', '+', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_undone() {
        use Scheme::*;
        for (written, scheme, local, domain) in [
            // draft-levine-smtp-batv-01 §4.1 (tag-type prvs): K DDD SSSSSS "=" loc-core.
            ("prvs=1234abcdef=joe", Batv, "joe", None),
            ("PRVS=1234ABCDEF=Joe", Batv, "Joe", None),
            ("prvs=1234abcdef=joe=x+y", Batv, "joe=x+y", None),
            // Nine and eleven digits are sent by gateways in the field.
            ("prvs=9350b6c2b=joe", Batv, "joe", None),
            // The older order, with "/" (draft-levine-mass-batv-00; exim 4.5x) and with "=".
            ("prvs=joe/1234abcdef", Batv, "joe", None),
            ("prvs=joe=1234abcdef", Batv, "joe", None),
            // Seen in Received headers of public lists.
            ("btv1==760cdc7c545==julian", Barracuda, "julian", None),
            ("msprvs1=1202020UU5ulBw=bounces-7", Momentum, "bounces-7", None),
            // SRS as its paper defines it (Mail::SRS, libsrs2): the first separator is "=", "+" or "-".
            ("SRS0=HHH=TT=example.org=joe", Srs0, "joe", Some("example.org")),
            ("srs0+hhh=tt=example.org=joe", Srs0, "joe", Some("example.org")),
            ("Srs0-hhh=tt=example.org=joe=x", Srs0, "joe=x", Some("example.org")),
            ("SRS1=HHH=first.example==HHH=TT=example.org=joe", Srs1, "joe", Some("example.org")),
            ("SRS1+HHH=first.example=-HHH=TT=example.org=joe", Srs1, "joe", Some("example.org")),
        ] {
            assert_eq!(untag(written), Some(Untagged { scheme, local, domain }), "{written}");
        }
    }

    #[test]
    fn what_only_looks_like_a_tag_stays() {
        for local in [
            "",
            "joe",
            "prvs",
            "prvs=",
            "prvs=joe",
            "prvs=12=joe",
            "prvs=1234abcdef=",
            "prvs=1234abcdeg=joe",
            "xprvs=1234abcdef=joe",
            "btv1=760cdc7c545=joe",
            "btv1====joe",
            "btv1==760cdc7c545==",
            "msprvs1==joe",
            "srs0",
            "srs0=",
            "srs0=a=b=c",
            "srs0=a=b=c=",
            "srs0==b=c=d",
            "srs0.a=b=c=d",
            "srs1=a=b=a=b=c=d",
            "srs1=a=b==c=d=e",
            "srs\u{e9}=a=b=c=d",
        ] {
            assert_eq!(untag(local), None, "{local}");
        }
    }
}
