//! Servers that send what no LDAP server sends. No real one does, so these are a few lines each.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

use super::*;

/// A server that answers each request with the next of these, and then with the last again.
async fn server(tasks: &TaskTracker, answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answers = answers.clone();
            connections.spawn(async move {
                let mut request = vec![0; 4096];
                for answer in answers.iter().chain(std::iter::repeat(answers.last().unwrap())) {
                    if !matches!(stream.read(&mut request).await, Ok(1..))
                        || stream.write_all(answer).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, 0x84][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    wrap(0x30, &[&[2, 1, id], operation])
}

const SUCCESS: &[u8] = &[10, 1, 0, 4, 0, 4, 0];

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_a_failure_of_the_server() {
    let tasks = TaskTracker::new();
    let bound = message(1, &wrap(0x61, &[SUCCESS]));
    let done = message(2, &wrap(0x65, &[SUCCESS]));
    let deep = (0..2000).fold(Vec::new(), |inner, _| [&[0x30, 0x80][..], &inner].concat());
    let nested = (0..5000).fold(Vec::new(), |inner: Vec<u8>, _| wrap(0x30, &[&inner]));
    let text = wrap(4, &[b"cn=x"]);
    for (name, answers) in [
        ("another protocol", vec![b"220 mail.example.com ESMTP\r\n".to_vec()]),
        ("a giant length", vec![vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]]),
        ("no length", vec![deep]),
        ("deep nesting", vec![nested]),
        ("no operation", vec![wrap(0x30, &[&[2, 1, 1]])]),
        ("nothing", vec![wrap(0x30, &[])]),
        ("a bind answer of another kind", vec![message(1, &wrap(0x61, &[]))]),
        ("a bind answer that is no text", vec![message(1, &wrap(0x61, &[&[10, 1, 49, 4, 0, 4, 1, 0xff]]))]),
        ("an answer of another kind", vec![bound.clone(), message(2, &wrap(0x61, &[SUCCESS]))]),
        ("a result without a code", vec![bound.clone(), message(2, &wrap(0x65, &[]))]),
        (
            "an entry without attributes",
            vec![bound.clone(), [message(2, &wrap(0x64, &[&text])), done.clone()].concat()],
        ),
        ("an entry that is text", vec![bound.clone(), [message(2, &[0x44, 1, b'x']), done.clone()].concat()]),
        (
            "a reference that is none",
            vec![bound.clone(), [message(2, &[0x53, 1, b'x']), done.clone()].concat()],
        ),
        ("a referral to nowhere", vec![bound.clone(), message(2, &wrap(0x65, &[&[10, 1, 10, 4, 0, 4, 0]]))]),
        ("success and nobody at all", vec![bound, done, message(3, &wrap(0x65, &[SUCCESS]))]),
    ] {
        let url = server(&tasks, answers).await;
        // So that nothing but the question is asked.
        let schema = "schema = \"active-directory\"";
        let client = client(&format!("urls = [{url:?}]\nbase = \"dc=x\"\ndeadline = \"1s\"\n{schema}"));
        let (why, said) = ask(&client, "joe@x").await.expect_err(name);
        assert!(matches!(why, Why::Down | Why::Failed), "{name}: {why:?} {said}");
    }
}

/// No more is taken than was asked for, as from a server that keeps to the limit: each says that it has the address.
#[tokio::test(flavor = "multi_thread")]
async fn entries_without_end_are_not_waited_for() {
    let bound = message(1, &wrap(0x61, &[SUCCESS]));
    let entry = message(2, &wrap(0x64, &[&wrap(4, &[b"cn=x"]), &wrap(0x30, &[])]));
    let url = server(&TaskTracker::new(), vec![bound, entry.repeat(10_000)]).await;
    let client = client(&format!("urls = [{url:?}]\nbase = \"dc=x\"\nschema = \"active-directory\""));
    assert_eq!(ask(&client, "joe@x").await, EXISTS);
}

/// The other server is asked, and the one that talks nonsense left alone.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_of_one_server_is_made_up_for_by_another() {
    let tasks = TaskTracker::new();
    let nonsense = server(&tasks, vec![message(1, &wrap(0x61, &[]))]).await;
    let slapd = Slapd::start();
    slapd.add(&person("anna"));
    let client = client(&reader(&slapd, &[nonsense, slapd.url()]));
    for _ in 0..10 {
        assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    }
}

/// A host that says nothing, not even to StartTLS or in a TLS handshake.
#[tokio::test(flavor = "multi_thread")]
async fn silence_costs_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    for settings in ["", "start_tls = true\nverify_certificate = false", "verify_certificate = false"] {
        let scheme = if settings.starts_with("verify") { "ldaps" } else { "ldap" };
        let client = client(&format!(
            "urls = [\"{scheme}://{place}\"]\nbase = \"dc=x\"\ndeadline = \"300ms\"\n{settings}"
        ));
        assert_eq!(ask(&client, "joe@x").await.unwrap_err().0, Why::TimedOut);
        assert_eq!(ask(&client, "joe@x").await.unwrap_err().0, Why::Down);
    }
}

/// An entry that can't be taken speaks against those who ask for it; the others on the same connection get their answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_not_taken_leaves_the_others_alone() {
    let giant = vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff];
    let tasks = TaskTracker::new();
    for nonsense in [giant, Vec::new()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, nonsense.clone()));
            }
        });
        let client = client(&format!("urls = [{url:?}]\nbase = \"dc=x\"\nconnections = 1"));
        assert_eq!(ask(&client, "anna@x").await, EXISTS);
        for _ in 0..3 {
            let others = futures_util::future::join_all((0..20).map(|_| ask(&client, "anna@x")));
            let (wrong, others) = tokio::join!(ask(&client, "giant@x"), others);
            let (why, said) = wrong.unwrap_err();
            assert!(why == Why::Failed && said.contains("this question"), "{why:?} {said}");
            assert!(others.iter().all(|other| *other == EXISTS), "{others:?}");
            assert_eq!(ask(&client, "anna@x").await, EXISTS);
        }
    }
}

/// Questions that take long, one at a time, while nobody else asks: anybody can invent them.
#[tokio::test(flavor = "multi_thread")]
async fn slow_questions_speak_against_themselves_only() {
    let tasks = TaskTracker::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, Vec::new()));
        }
    });
    let client = client(&format!("urls = [{url:?}]\nbase = \"dc=x\"\nconnections = 1\ndeadline = \"1s\""));
    for _ in 0..3 {
        let (why, said) = ask(&client, "slow@x").await.unwrap_err();
        assert!(why == Why::TimedOut && said.contains("no answer to this question"), "{said}");
        assert_eq!(ask(&client, "anna@x").await, EXISTS);
    }
}

/// Everybody exists; for `slow` it sends nothing, for `giant` this, or an entry that is none.
async fn answer(mut stream: tokio::net::TcpStream, nonsense: Vec<u8>) {
    let mut request = Vec::new();
    while matches!(ber::read(&mut stream, false, &mut request).await, Ok(true)) {
        // SEQUENCE, its length, INTEGER of one byte, the operation.
        let at = if request[1] < 0x80 { 2 } else { 2 + usize::from(request[1] - 0x80) };
        let (id, operation) = (request[at + 2], request[at + 3]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let done = message(id, &wrap(0x65, &[SUCCESS]));
        let entry = |values: &[&[u8]]| {
            let values: Vec<Vec<u8>> = values.iter().map(|value| wrap(4, &[value])).collect();
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let mail = wrap(0x30, &[&wrap(4, &[b"mail"]), &wrap(0x31, &values)]);
            message(id, &wrap(0x64, &[&wrap(4, &[b"cn=x"]), &wrap(0x30, &[&mail])]))
        };
        let answer = match operation {
            0x60 => message(id, &wrap(0x61, &[SUCCESS])),
            0x63 if text.contains("supportedCapabilities") => done,
            0x63 if text.contains("slow") => continue,
            0x63 if text.contains("giant") && nonsense.is_empty() => {
                [message(id, &wrap(0x64, &[&wrap(4, &[b"cn=x"])])), done].concat()
            }
            0x63 if text.contains("giant") => nonsense.clone(),
            0x63 => [entry(&[b"anna@x"]), done].concat(),
            _ => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
