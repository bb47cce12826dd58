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
    /// `btv1==hash==local`, Barracuda's bounce suppression.
    Barracuda,
    /// `SRS0=hash=time=domain=local`, Sender Rewriting Scheme.
    Srs0,
    /// `SRS1=hash=forwarder==hash=time=domain=local`, SRS forwarded once more.
    Srs1,
}

/// Undoes one tag, in any case.
pub fn untag(local: &str) -> Option<Untagged<'_>> {
    let (tag, rest) = local.split_at_checked(4)?;
    let undone = match tag.to_ascii_lowercase().as_str() {
        "prvs" => batv(rest)?,
        "btv1" => barracuda(rest)?,
        "srs0" => srs0(rest, Scheme::Srs0)?,
        "srs1" => srs1(rest)?,
        _ => return None,
    };
    (!undone.local.is_empty()).then_some(undone)
}

/// `=KDDDSSSSSS=local`; before draft-levine-mass-batv-02 `=local/KDDDSSSSSS`, and `=local=KDDDSSSSSS` in the wild.
fn batv(rest: &str) -> Option<Untagged<'_>> {
    let rest = rest.strip_prefix('=')?;
    let in_front = rest.split_once('=').filter(|(tag, _)| is_batv_tag(tag)).map(|(_, local)| local);
    let behind = || rest.rsplit_once(['=', '/']).filter(|(_, tag)| is_batv_tag(tag)).map(|(local, _)| local);
    Some(Untagged { scheme: Scheme::Batv, local: in_front.or_else(behind)?, domain: None })
}

/// Key number, day and six digits of the hash: ten digits in the draft. Products differ, so 8 to 16 hex digits.
fn is_batv_tag(tag: &str) -> bool {
    (8..=16).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `==hash==local`
fn barracuda(rest: &str) -> Option<Untagged<'_>> {
    let (hash, local) = rest.strip_prefix("==")?.split_once("==")?;
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
