//! Answers the policy's questions from the parts until it has decided. The server and `backstop check` both
//! decide here: there is no second engine that could differ.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::LazyLock,
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::timeout_at;

use crate::{
    address::{Address, candidates, mailbox},
    client::{Classified, Hint},
    clock,
    defence::{Standing, Triplet, Wait, Why, standing_name},
    policy::{
        Attributes, ClientClass, Counts, Decision, DomainFact, Facts, Level, Question, Recipient,
        RecipientFact, Step, SuspensionFact, next,
    },
    suspension::Suspension,
};

use super::{Snapshot, asked::Asked};

/// Who writes: what questions about the client and the message are about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Envelope<'a> {
    /// The client's address, where the MTA tells it.
    pub client: Option<IpAddr>,
    /// What else is known of it.
    pub hint: Hint<'a>,
    /// As written behind MAIL FROM.
    pub sender: &'a [u8],
    /// When the message began, in seconds since 1970: one time for all of its recipients, so that they wait together.
    pub began: u64,
    /// Those that the message is for, so far; the defences leave none of them alone.
    pub recipients: &'a [Address],
    /// Nobody writes: nothing is remembered of it.
    pub is_rehearsal: bool,
}

/// Decides; writes what was found into `facts`, and what was asked into `asked` if that is wanted. Takes no longer than [`LONGEST_REPLY`]:
/// what is not known by then could not be found out.
pub async fn decide<'s>(
    snapshot: &'s Snapshot,
    envelope: Envelope<'_>,
    facts: &mut Facts,
    mut asked: Option<&mut Asked>,
) -> Decision<'s> {
    let begun = clock::now();
    loop {
        let question = match next(&snapshot.rules, facts) {
            Step::Decide(decision) => return decision,
            Step::Ask(question) => question,
        };
        let explain = asked.as_ref().is_some_and(|asked| asked.explains());
        let asked_at = explain.then(clock::now);
        let answer = answer(snapshot, envelope, facts, question, explain);
        let answer = match timeout_at((begun + LONGEST_REPLY).into(), answer).await {
            Ok(answer) => answer,
            Err(_) => give_up(snapshot, facts, question).await,
        };
        if let Some(asked) = asked.as_deref_mut() {
            asked.push(question, answer, asked_at.map(clock::since).unwrap_or_default());
        }
    }
}

/// The same as far as the answers are in memory: no waiting, no allocation.
///
/// # Errors
/// With the question that somebody else has to be asked. What was found until then is in `facts`: [`decide`] goes on there.
pub(super) fn decide_here<'s>(
    snapshot: &'s Snapshot,
    envelope: Envelope<'_>,
    facts: &mut Facts,
    mut asked: Option<&mut Asked>,
) -> Result<Decision<'s>, Question> {
    let explain = asked.as_ref().is_some_and(|asked| asked.explains());
    loop {
        let question = match next(&snapshot.rules, facts) {
            Step::Decide(decision) => return Ok(decision),
            Step::Ask(question) => question,
        };
        // Evidence for an answer is collected where there is time to wait for it.
        let answer = if explain { None } else { answer_here(snapshot, envelope, facts, question) };
        let answer = answer.ok_or(question)?;
        if let Some(asked) = asked.as_deref_mut() {
            asked.push(question, (answer, Vec::new()), Duration::ZERO);
        }
    }
}

/// In words, and where it comes from.
pub(super) type Answer = (&'static str, Vec<String>);

/// The answer that is in memory, without evidence.
fn answer_here(
    snapshot: &Snapshot,
    envelope: Envelope<'_>,
    facts: &mut Facts,
    question: Question,
) -> Option<&'static str> {
    match question {
        Question::Domain(at) => Some(answer_domain(snapshot, facts, at)?.0),
        Question::Suspended(at) => {
            let level =
                level_mut(facts, at).filter(|level| suspension(snapshot, &level.address).is_none())?;
            level.suspended = Some(SuspensionFact::No);
            facts.text = None;
            Some(NOT_SUSPENDED)
        }
        Question::Recipient(at) => {
            let level = level_mut(facts, at)?;
            let fact = snapshot.directories.recall(&level.address)?;
            level.found = Some(fact);
            Some(words_for(fact))
        }
        Question::Standing => {
            let standing = match envelope.client {
                Some(client) => snapshot.defences.standings.find_here(client)?,
                None => Standing::default(),
            };
            Some(take_standing(snapshot, envelope, facts, &standing))
        }
        Question::Trap(at) => {
            level_mut(facts, at).filter(|level| listed_trap(snapshot, &level.address).is_none())?.trap =
                Some(false);
            Some(NO_TRAP)
        }
        Question::Class | Question::Greylist | Question::Solicited => None,
    }
}

/// Fills in whether the domain is local: that is always in memory.
fn answer_domain(snapshot: &Snapshot, facts: &mut Facts, at: usize) -> Option<(&'static str, DomainFact)> {
    let domain = level(facts, at).map(|level| level.address.domain()).or_else(|| facts.recipient.domain())?;
    let fact = snapshot.directories.domain(domain);
    match &mut facts.recipient {
        Recipient::Invalid { fact: slot, .. } => *slot = Some(fact),
        Recipient::Levels(levels) => {
            if let Some(level) = levels.get_mut(at) {
                level.domain = Some(fact);
            }
        }
        Recipient::None | Recipient::Bare(_) => {}
    }
    let words = match fact {
        DomainFact::Foreign => "not local",
        DomainFact::Local { in_charge: true, .. } => "local",
        DomainFact::Local { in_charge: false, .. } => "local, no directory in charge",
    };
    Some((words, fact))
}

/// Fills in how the client stands.
fn take_standing(
    snapshot: &Snapshot,
    envelope: Envelope<'_>,
    facts: &mut Facts,
    standing: &Standing,
) -> &'static str {
    facts.trusted |= standing.trusted;
    facts.is_unsure = standing.unsure;
    facts.blocked = Some(standing.blocked.is_some());
    facts.by_hand = standing.blocked.as_ref().is_some_and(|block| block.by_hand);
    facts.lately = standing.lately;
    match standing {
        _ if envelope.client.is_none() => "nothing: no client was named",
        _ if !snapshot.defences.standings.has_place() => "not looked at, the server knows it",
        Standing { trusted: true, .. } => "trusted for a time, an insider",
        Standing { blocked: Some(_), .. } => "blocked",
        Standing { unanswered: true, .. } => "could not find out: the store does not answer",
        Standing { unsure: true, .. } => {
            "not blocked; could not find out whether it is trusted: the store has lost what it was told"
        }
        Standing { .. } => "neither blocked nor trusted for a time",
    }
}

fn words_for(fact: RecipientFact) -> &'static str {
    match fact {
        RecipientFact::Exists(attributes) if attributes.catch_all => "exists, through a catch-all",
        RecipientFact::Exists(attributes) if attributes.suspended => "exists, suspended",
        RecipientFact::Exists(attributes) if attributes.restricted && attributes.unsure => {
            "exists, perhaps restricted"
        }
        RecipientFact::Exists(attributes) if attributes.restricted => "exists, restricted",
        RecipientFact::Exists(_) => "exists",
        RecipientFact::Absent => "absent",
        RecipientFact::Unknown(_) => "could not find out",
    }
}

async fn answer(
    snapshot: &Snapshot,
    envelope: Envelope<'_>,
    facts: &mut Facts,
    question: Question,
    explain: bool,
) -> Answer {
    match question {
        Question::Domain(at) => {
            let Some((words, _)) = answer_domain(snapshot, facts, at) else { return NOTHING };
            let domain = level(facts, at).map(|level| level.address.domain());
            let domain = domain.or_else(|| facts.recipient.domain()).filter(|_| explain);
            let evidence = domain.map(|domain| snapshot.directories.explain_domain(domain));
            (words, evidence.unwrap_or_default())
        }
        Question::Suspended(at) => {
            let Some(level) = level_mut(facts, at) else { return NOTHING };
            let found = suspended(snapshot, &level.address).await;
            let (fact, words) = match &found {
                None => (SuspensionFact::No, NOT_SUSPENDED),
                Some(found) if found.is_doubtful() => (SuspensionFact::Unknown, "could not find out"),
                Some(_) => (SuspensionFact::Yes, "suspended"),
            };
            level.suspended = Some(fact);
            facts.text = found.as_ref().and_then(|found| found.text().map(str::to_owned));
            (words, if explain { snapshot.suspensions.explain(found.as_ref()) } else { Vec::new() })
        }
        Question::Recipient(at) => {
            let Some(level) = level_mut(facts, at) else { return NOTHING };
            let (fact, evidence) = look_up(snapshot, &level.address, explain).await;
            level.found = Some(fact);
            (words_for(fact), evidence)
        }
        Question::Standing => {
            let standing = match envelope.client {
                Some(client) => snapshot.defences.standings.find(client).await,
                None => Standing::default(),
            };
            let words = take_standing(snapshot, envelope, facts, &standing);
            (words, if explain { explain_standing(snapshot, envelope, &standing) } else { Vec::new() })
        }
        Question::Class => {
            let Some(found) = classify(snapshot, envelope).await else {
                facts.class = Some(ClientClass::Unknown);
                return ("unknown: the MTA does not tell its address", Vec::new());
            };
            facts.class = Some(found.class);
            (found.class.as_str(), found.evidence)
        }
        Question::Trap(at) => {
            let Some(level) = level_mut(facts, at) else { return NOTHING };
            let (is_trap, answer) = trap(snapshot, level, explain).await;
            level.trap = Some(is_trap);
            answer
        }
        Question::Greylist => {
            let wait = greylist(snapshot, envelope, facts).await;
            facts.greylisted = Some(wait.left);
            let words = if wait.left.is_zero() { "passes" } else { "has to come again" };
            (words, if explain { vec![wait.why.to_string()] } else { Vec::new() })
        }
        Question::Solicited => {
            let Envelope { recipients, began, is_rehearsal, .. } = envelope;
            let found = snapshot.defences.bounces.solicited(recipients, began, is_rehearsal).await;
            facts.solicited = Some(found.is_solicited());
            (found.as_str(), Vec::new())
        }
    }
}

/// The answer where there is no time left to find one: nothing speaks against anybody. Waits for nothing.
pub(super) async fn give_up(snapshot: &Snapshot, facts: &mut Facts, question: Question) -> Answer {
    match question {
        // Not asked of anybody who could keep us waiting.
        Question::Domain(at) => match &mut facts.recipient {
            Recipient::Invalid { fact, .. } => *fact = Some(DomainFact::Foreign),
            Recipient::Levels(levels) => {
                if let Some(level) = levels.get_mut(at) {
                    level.domain = Some(DomainFact::Foreign);
                }
            }
            Recipient::None | Recipient::Bare(_) => {}
        },
        Question::Standing => (facts.blocked, facts.is_unsure) = (Some(false), true),
        Question::Class => facts.class = Some(ClientClass::Unknown),
        Question::Trap(at) => {
            if let Some(level) = level_mut(facts, at) {
                level.trap = Some(false);
            }
        }
        Question::Suspended(at) => {
            if let Some(level) = level_mut(facts, at) {
                level.suspended = Some(SuspensionFact::No);
            }
        }
        Question::Recipient(at) => {
            if let Some(level) = level_mut(facts, at) {
                // What is in memory, or what the admin chose for a directory that can't answer.
                let found = snapshot.directories.find_within(Duration::ZERO, &level.address, false).await;
                level.found = Some(found.fact);
            }
        }
        Question::Greylist => facts.greylisted = Some(Duration::ZERO),
        Question::Solicited => facts.solicited = Some(true),
    }
    ("could not find out in time", Vec::new())
}

fn explain_standing(snapshot: &Snapshot, envelope: Envelope<'_>, standing: &Standing) -> Vec<String> {
    let mut evidence = Vec::new();
    if let Some(block) = &standing.blocked {
        let is_own = envelope.client.is_some_and(|client| standing_name(client, true) == block.name());
        if !is_own {
            evidence.push(format!("all of {} is blocked, but for those with a good name", block.name()));
        }
        evidence.extend(Some(block.why.clone()).filter(|why| !why.is_empty()));
    }
    let asked = |who: &str, Counts { known, unknown, history, .. }| {
        format!(
            "{who}asked lately for {unknown} unknown and {known} known recipients ({history} known in a month)"
        )
    };
    let place = envelope.client.and_then(|_| snapshot.defences.standings.place());
    if let Some(lately) = standing.lately.filter(|_| place.is_some()) {
        evidence.push(asked("", lately.own));
        evidence.extend(lately.network.map(|counts| asked("all of its /48 ", counts)));
    }
    evidence.extend(place.map(|place| format!("[{place}, asked now]")));
    evidence
}

async fn classify(snapshot: &Snapshot, envelope: Envelope<'_>) -> Option<Classified> {
    Some(snapshot.clients.classifier().classify(envelope.client?, envelope.hint).await)
}

async fn greylist(snapshot: &Snapshot, envelope: Envelope<'_>, facts: &Facts) -> Wait {
    let greylist = &snapshot.defences.greylist;
    let (Some(client), Some(recipient)) = (envelope.client, facts.recipient.outermost()) else {
        return Wait::passes(Why::NoAddress);
    };
    let Some(found) = classify(snapshot, envelope).await else { return Wait::passes(Why::NoAddress) };
    if found.is_welcome {
        return Wait::passes(Why::Welcome);
    }
    if !greylist.judges(found.class) {
        return Wait::passes(Why::Class(found.class));
    }
    let triplet = Triplet {
        client,
        // The names of access lines have their provider's domain in common with all the others.
        name: found.name.as_deref().filter(|_| found.class == ClientClass::Server),
        sender: envelope.sender,
        recipient: &mailbox(recipient, snapshot.directories.delimiters()),
        is_first: facts.accepted == Some(0),
    };
    greylist.check(triplet, envelope.began, envelope.is_rehearsal).await
}

/// Whether the address, or a form of it, is listed as a trap and is nobody's in truth. Where a directory knows it, or one
/// in charge can't tell, it is no trap: its mail would be refused for good.
async fn trap(snapshot: &Snapshot, level: &mut Level, explain: bool) -> (bool, Answer) {
    let Some(listed) = listed_trap(snapshot, &level.address).map(Cow::into_owned) else {
        return (false, (NO_TRAP, Vec::new()));
    };
    if !matches!(level.domain, Some(DomainFact::Local { in_charge: true, .. })) {
        return (true, ("a trap", Vec::new()));
    }
    let (fact, evidence) = look_up(snapshot, &level.address, explain).await;
    if matches!(fact, RecipientFact::Exists(attributes) if !attributes.catch_all) {
        snapshot.defences.traps.note_existing(&listed);
    }
    level.found = Some(fact);
    match fact {
        RecipientFact::Absent => (true, ("a trap", evidence)),
        RecipientFact::Exists(Attributes { catch_all: false, .. }) => {
            (false, ("listed as a trap, but somebody's address", evidence))
        }
        RecipientFact::Exists(Attributes { unsure: true, .. }) | RecipientFact::Unknown(_) => {
            (false, ("listed as a trap, but perhaps somebody's address", evidence))
        }
        RecipientFact::Exists(_) => (true, ("a trap", evidence)),
    }
}

/// Whether the recipient is suspended, itself or a form of it, unless a fuller form is a recipient in its own right:
/// a suspended `joe` says nothing of the mailbox `joe-ann`, even where `-` begins a sub-address. A directory in charge
/// that can't tell about the fuller form leaves it open, and is then asked for the recipient itself: no 5xx from that.
async fn suspended(snapshot: &Snapshot, address: &Address) -> Option<Suspension> {
    let Suspended { suspension, form, fuller } = suspension(snapshot, address)?;
    let spared = async {
        for own in &fuller {
            if may_be_known(snapshot, own).await && !is_like_any(snapshot, own, &form).await {
                return true;
            }
        }
        false
    };
    let spared = tokio::time::timeout(snapshot.lookup, spared).await.unwrap_or(true);
    (!spared).then_some(suspension)
}

struct Suspended {
    suspension: Suspension,
    /// Whose it is.
    form: Address,
    /// Those before it.
    fuller: SmallVec<[Address; 2]>,
}

/// The first form of the address that is suspended.
fn suspension(snapshot: &Snapshot, address: &Address) -> Option<Suspended> {
    if snapshot.suspensions.is_empty() {
        return None;
    }
    let forms = candidates(address, snapshot.directories.delimiters()).map(|form| form.address);
    let mut fuller = SmallVec::new();
    for form in forms.filter(|form| form.domain() == address.domain()) {
        if let Some(suspension) = snapshot.suspensions.check(&form) {
            return Some(Suspended { suspension, form: form.into_owned(), fuller });
        }
        fuller.push(form.into_owned());
    }
    None
}

/// Whether the fuller form is known as any sub-address of the shorter one is, one that nobody has included: a next hop takes
/// them all, and that makes no mailbox of its own of it.
async fn is_like_any(snapshot: &Snapshot, fuller: &Address, shorter: &Address) -> bool {
    static NOBODYS: LazyLock<String> =
        LazyLock::new(|| format!("backstop{:016x}", RandomState::new().hash_one("nobody")));
    let delimiter = fuller.local().strip_prefix(shorter.local()).and_then(|rest| rest.chars().next());
    let invented = delimiter.and_then(|delimiter| {
        let local = format!("{}{delimiter}{}", shorter.local(), *NOBODYS);
        shorter.with_local(&local).ok()
    });
    let Some(invented) = invented else { return false };
    let known = |attributes: Attributes| !attributes.catch_all && !attributes.unsure;
    matches!(snapshot.directories.find_exactly(&invented).await, RecipientFact::Exists(found) if known(found))
}

/// The first form of the address that is listed as a trap.
fn listed_trap<'a>(snapshot: &'a Snapshot, address: &'a Address) -> Option<Cow<'a, Address>> {
    let traps = &snapshot.defences.traps;
    if traps.is_empty() {
        return None;
    }
    let forms = candidates(address, snapshot.directories.delimiters()).map(|form| form.address);
    let mut own = forms.filter(|form| form.domain() == address.domain());
    own.find(|form| traps.lists(form) && !snapshot.rules.is_no_trap(form.local()))
}

/// Whether the address, exactly as it is, is known to a directory, or may be for all that the one in charge can tell.
async fn may_be_known(snapshot: &Snapshot, address: &Address) -> bool {
    match snapshot.directories.find_exactly(address).await {
        RecipientFact::Exists(attributes) => !attributes.catch_all || attributes.unsure,
        RecipientFact::Absent => false,
        RecipientFact::Unknown(_) => {
            matches!(snapshot.directories.domain(address.domain()), DomainFact::Local { in_charge: true, .. })
        }
    }
}

async fn look_up(snapshot: &Snapshot, address: &Address, explain: bool) -> (RecipientFact, Vec<String>) {
    let found = snapshot.directories.find_within(snapshot.lookup, address, explain).await;
    (found.fact, found.steps.iter().map(ToString::to_string).collect())
}

pub(super) fn level(facts: &Facts, at: usize) -> Option<&Level> {
    match &facts.recipient {
        Recipient::Levels(levels) => levels.get(at),
        _ => None,
    }
}

fn level_mut(facts: &mut Facts, at: usize) -> Option<&mut Level> {
    match &mut facts.recipient {
        Recipient::Levels(levels) => levels.get_mut(at),
        _ => None,
    }
}

/// One answer to the MTA takes no longer, whatever is asked for it: Sendmail waits 10 s by default, and the rest is for the
/// way.
pub const LONGEST_REPLY: Duration = Duration::from_secs(8);

const NOTHING: Answer = ("nothing to find out", Vec::new());
const NOT_SUSPENDED: &str = "not suspended";
const NO_TRAP: &str = "no trap";
