//! A server that sends entries without end. No real one does, so this is a few lines.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, 0x84][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    wrap(0x30, &[&[2, 1, id], operation])
}

/// The end of a search, with a control.
fn end(id: u16, control: &str, value: &[u8]) -> Vec<u8> {
    let control = wrap(0x30, &[&text(control), &wrap(4, &[value])]);
    let id = [&[2, 3, 0][..], &id.to_be_bytes()].concat();
    wrap(0x30, &[&id, &wrap(0x65, &[SUCCESS]), &wrap(0xa0, &[&control])])
}

fn text(text: &str) -> Vec<u8> {
    wrap(4, &[text.as_bytes()])
}

fn entry(id: u8, name: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let attribute = |(name, value): &(&str, &str)| wrap(0x30, &[&text(name), &wrap(0x31, &[&text(value)])]);
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    message(id, &wrap(0x64, &[&text(name), &wrap(0x30, &[&attributes])]))
}

/// Answers the bind, the question what it is and the one for referrals; what it is asked then it answers without end. Gives
/// its URL, and counts the entries that it got rid of.
async fn flood(announced: &'static [(&'static str, &'static str)]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            connections.spawn(async move {
                let mut request = vec![0; 4096];
                let itself = [entry(2, "", announced), message(2, &wrap(0x65, &[SUCCESS]))].concat();
                let answers =
                    [message(1, &wrap(0x61, &[SUCCESS])), itself, message(3, &wrap(0x65, &[SUCCESS]))];
                for answer in answers {
                    if !matches!(stream.read(&mut request).await, Ok(1..))
                        || stream.write_all(&answer).await.is_err()
                    {
                        return;
                    }
                }
                let padding = "x".repeat(4000);
                for number in 0.. {
                    let address = format!("u{number}@example.test");
                    let next = entry(4, &address, &[("mail", &address), ("cn", &padding)]);
                    if stream.write_all(&next).await.is_err() {
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (url, sent)
}

fn anonymous(url: &str) -> Config {
    serde_json::from_value(json!({ "urls": [url], "base": "dc=x", "feed": "paged", "page_size": 10 }))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_without_end_does_not_wait_in_memory() {
    let (url, sent) = flood(&[]).await;
    let feed = Following::start(&anonymous(&url), NEVER);
    wait_until(Duration::from_secs(60), "parts of the listing", || feed.replica.addresses() >= 6000);
    let (sent, known) = (sent.load(Ordering::Relaxed), feed.replica.addresses());
    // Some megabytes are in the buffers of the system.
    assert!(sent < 16_000, "{sent} entries were taken in, and {known} are known");
    assert!(!feed.replica.is_complete());
    assert_eq!(feed.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_end_is_a_fault() {
    let (url, _) = flood(&[("supportedControl", "1.2.840.113556.1.4.319")]).await;
    let feed = Following::start(&anonymous(&url), NEVER);
    feed.wait_failure("too many entries");
    assert!(!feed.replica.is_complete());
}

/// Whatever it is asked, nothing was found yet, and there is more.
async fn repeat(
    announced: &'static [(&'static str, &'static str)],
    control: &'static str,
    value: Vec<u8>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let value = value.clone();
            connections.spawn(async move {
                let mut request = vec![0; 4096];
                for id in 1_u16.. {
                    let answer = match id {
                        1 => message(1, &wrap(0x61, &[SUCCESS])),
                        2 => [entry(2, "", announced), message(2, &wrap(0x65, &[SUCCESS]))].concat(),
                        id => end(id, control, &value),
                    };
                    if !matches!(stream.read(&mut request).await, Ok(1..))
                        || stream.write_all(&answer).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_without_end_and_without_entries_are_a_fault() {
    const PAGED: &str = "1.2.840.113556.1.4.319";
    // RFC 2696 §2: `SEQUENCE { size INTEGER, cookie OCTET STRING }`
    let value = wrap(0x30, &[&[2, 1, 0], &text("again")]);
    let url = repeat(&[("supportedControl", PAGED)], PAGED, value).await;
    let feed = Following::start(&anonymous(&url), NEVER);
    feed.wait_failure("too many entries");
    assert!(!feed.replica.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_the_same_for_ever_are_a_fault() {
    const DIRSYNC: &str = "1.2.840.113556.1.4.841";
    // MS-ADTS §3.1.1.3.4.1.3: `SEQUENCE { MoreResults INTEGER, unused INTEGER, CookieServer OCTET STRING }`
    let value = wrap(0x30, &[&[2, 1, 1], &[2, 1, 0], &text("again")]);
    let announced = &[
        ("supportedControl", DIRSYNC),
        ("supportedCapabilities", "1.2.840.113556.1.4.800"),
        ("namingContexts", "dc=x"),
    ];
    let url = repeat(announced, DIRSYNC, value).await;
    let config = json!({ "urls": [url], "base": "dc=x", "feed": "dirsync", "schema": "active-directory" });
    let feed = Following::start(&serde_json::from_value(config).unwrap(), NEVER);
    feed.wait_failure("made no sense");
    assert!(!feed.replica.is_complete());
}

/// `LDAPResult` (RFC 4511 §4.1.9) without more.
const SUCCESS: &[u8] = &[10, 1, 0, 4, 0, 4, 0];
