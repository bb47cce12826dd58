//! The status page: made here as a whole, so that it needs no script; with one, the same part is asked for again.
//!
//! Shows what `backstop status`, `report` and `check` say. Failure: what can't be had in time is left out and said to be.

mod explain;
mod eyes;
mod live;
mod plot;
mod words;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use tokio::{sync::Mutex, time::timeout};
use url::form_urlencoded;

use crate::readable::{clock, moment, now};

use super::{Views, access::comes_from_elsewhere, limit::Limit};

use explain::{Answer, Form};
use live::{Live, Span};

/// What all requests share.
pub(super) struct Site<V> {
    pub(super) views: Arc<V>,
    asked: Limit,
    /// The last part for each span. Who comes while one is made waits for it.
    kept: [Mutex<Option<Arc<Part>>>; Span::ALL.len()],
}

/// What changes all the time, ready to be sent.
struct Part {
    made: Instant,
    title: String,
    /// In front of the form.
    above: Markup,
    /// Behind it.
    below: Markup,
}

impl<V: Views> Site<V> {
    pub(super) fn new(views: Arc<V>) -> Self {
        Self { views, asked: Limit::new(), kept: Default::default() }
    }

    /// What changes all the time; however many ask, it is made once a second.
    async fn part(&self, span: Span) -> Arc<Part> {
        let mut kept = self.kept[span as usize].lock().await;
        if let Some(part) = kept.as_ref().filter(|part| part.made.elapsed() < FRESH) {
            return Arc::clone(part);
        }
        let live = Live::look(&*self.views, span).await;
        let (title, above, below) = (live.title(), live.above(), live.below());
        let part = Arc::new(Part { made: Instant::now(), title, above, below });
        *kept = Some(Arc::clone(&part));
        part
    }

    /// The answer to what was written into the form.
    async fn explain(&self, form: &Form, headers: &HeaderMap) -> Answer {
        if !form.is_asked() {
            return Answer::None;
        }
        let check = match form.check() {
            Ok(check) => check,
            Err(wrong) => return Answer::Wrong(wrong),
        };
        if comes_from_elsewhere(headers) {
            return Answer::Linked;
        }
        let _permit = match self.asked.begin(Instant::now()) {
            Ok(permit) => permit,
            Err(after) => return Answer::Later(after),
        };
        match timeout(LONGEST_CHECK, self.views.check(&check)).await {
            Ok(checked) => Answer::Checked(Box::new(checked)),
            Err(_) => Answer::Later(LONGEST_CHECK),
        }
    }
}

/// `GET /`
pub(super) async fn whole<V: Views>(
    State(site): State<Arc<Site<V>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let (span, form) = (span_of(query), Form::read(query));
    let answer = site.explain(&form, &headers).await;
    let part = site.part(span).await;
    let addresses = site.views.access().addresses;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (part.title) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/status.css";
                script src="/status.js" defer {}
            }
            body {
                main {
                    (part.above)
                    (form.show(&answer, addresses))
                    (part.below)
                    (words::meanings())
                }
                footer {
                    p #live role="status" hidden {}
                    noscript { p { "Without JavaScript this page stands still. " a href=(span.link()) { "Load it again" } "." } }
                }
            }
        }
    };
    let (status, after) = match &answer {
        Answer::Wrong(_) => (StatusCode::BAD_REQUEST, None),
        Answer::Later(after) => (StatusCode::SERVICE_UNAVAILABLE, Some(after.as_secs().max(1))),
        Answer::None | Answer::Linked | Answer::Checked(_) => (StatusCode::OK, None),
    };
    let mut response = (status, ONE_EACH, Html(page.into_string())).into_response();
    if let Some(after) = after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
    response
}

/// `GET /part`
pub(super) async fn part<V: Views>(State(site): State<Arc<Site<V>>>, uri: Uri) -> Response {
    let part = site.part(span_of(uri.query().unwrap_or_default())).await;
    let both = html! { (part.above) (part.below) };
    (ONE_EACH, Html(both.into_string())).into_response()
}

/// `since=day`; anything else is the last hour.
fn span_of(query: &str) -> Span {
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "since");
    let known = given.and_then(|(_, value)| Span::ALL.into_iter().find(|span| span.as_str() == value));
    known.unwrap_or(Span::Hour)
}

/// The time of today, or day and time; the whole of it where one points at it.
fn when(at: u64) -> Markup {
    let (whole, today) = (moment(at), moment(now()));
    let short = match (whole.get(..10), whole.get(11..16)) {
        (Some(day), _) if today.starts_with(day) => clock(at),
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => whole.clone(),
    };
    html! { time datetime=(whole) title=(whole) { (short) } }
}

/// `1,234,567`
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A connection that is kept ends after some seconds, whatever is under way then.
const ONE_EACH: [(header::HeaderName, &str); 1] = [(header::CONNECTION, "close")];
const FRESH: Duration = Duration::from_secs(1);
/// Connections live for 20 s.
const LONGEST_CHECK: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (given, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(given), shown);
        }
    }

    #[test]
    fn times_are_as_short_as_can_be() {
        let now = now();
        assert!(when(now).0.contains(&format!(">{}<", clock(now))));
        assert!(when(86_400 * 365).0.contains(">1971-01-0"), "{}", when(86_400 * 365).0);
        assert!(when(u64::MAX).0.contains(">never<"));
    }

    #[test]
    fn spans_are_read() {
        for (query, span) in [
            ("", Span::Hour),
            ("since=day", Span::Day),
            ("a=b&since=day&c", Span::Day),
            ("since=x", Span::Hour),
        ] {
            assert_eq!(span_of(query), span, "{query}");
        }
    }
}
