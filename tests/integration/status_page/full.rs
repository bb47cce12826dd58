//! The pictures for docs/status-page.md: three hours with an attack in them, in a server whose clock runs fast.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use backstop_harness::Chromium;

use super::*;

/// `BACKSTOP_PICTURES=docs/images` has them put there.
#[test]
fn pictures_of_an_attack() {
    let place = match std::env::var_os("BACKSTOP_PICTURES") {
        Some(place) => Path::new(env!("CARGO_MANIFEST_DIR")).join(place),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures"),
    };
    fs::create_dir_all(&place).expect("it can be made");
    let backstop = Backstop::builder(BACKSTOP)
        .file("addresses", "anna@example.com\nbob@example.com\ncarla@example.com\nsales@example.com\n")
        .file("suspended", "dora@example.com\n")
        .config(PICTURED)
        // What it reads from the clock runs fast; what it waits for does not.
        .after(&format!(
            "export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME_DONT_FAKE_MONOTONIC=1\n\
             export FAKETIME='-{HOURS}h x{FASTER}'"
        ))
        .start();
    let began = Instant::now();
    let all = Duration::from_secs(HOURS * 3600 / FASTER);
    let mut random = 7_u32;
    let mut next = move |below: u32| {
        // Numerical Recipes' generator: the same picture each time, as far as time allows.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    while began.elapsed() < all {
        let minute = began.elapsed().as_secs_f64() * FASTER as f64 / 60.0;
        for _ in 0..2 + next(4) {
            wanted(&backstop, next(200));
        }
        if next(8) == 0 {
            let _ = session(
                &backstop,
                peer(next(20)),
                b"list.example.net",
                b"<news@example.net>",
                &[b"<dora@example.com>"],
            );
            let _ = session(
                &backstop,
                peer(next(20)),
                b"list.example.net",
                b"<news@example.net>",
                &[b"<bob@new.example.com>"],
            );
        }
        if (70.0..120.0).contains(&minute) || (150.0..165.0).contains(&minute) {
            for _ in 0..8 + next(10) {
                bot(&backstop, next(60), next(1000));
            }
        }
        // Who looks has it counted: else that is done once a second, which is a minute here.
        let _ = get(backstop.http_port(), "/part");
        std::thread::sleep(Duration::from_millis(100)); // how dense it is, and no wait for anything
    }

    let chromium = Chromium::start();
    let url = format!("http://localhost:{}", backstop.http_port());
    for (name, scheme, width, height, query) in [
        ("status-light", "light", 1100, 800, ""),
        ("status-dark", "dark", 1100, 800, ""),
        ("status-phone", "light", 390, 844, ""),
        (
            "status-explain",
            "light",
            1200,
            420,
            "/?address=invented7%40example.com&client=203.0.113.7#explain",
        ),
    ] {
        let tab = chromium.tab();
        tab.scheme(scheme);
        tab.size(width, height);
        tab.open(&format!("{url}{query}"));
        tab.evaluate("document.querySelector('#recent details').open = true");
        tab.wait("!document.getElementById('live').hidden");
        let picture = tab.picture(false);
        fs::write(place.join(format!("{name}.png")), &picture).expect("it can be written");
        assert!((10_000..150_000).contains(&picture.len()), "{name}: {} bytes", picture.len());
    }
    let part = get(backstop.http_port(), "/part").body;
    let minutes = section(&part, "minutes");
    assert!(minutes.matches("v-").count() > 100, "an attack in the plot: {minutes}");
}

fn wanted(backstop: &Backstop, number: u32) {
    let to = ["anna", "bob", "carla", "sales"][number as usize % 4];
    let (helo, from) = (format!("mail{number}.example.net"), format!("<joe{number}@example.net>"));
    let to = format!("<{to}@example.com>");
    let _ = session(backstop, peer(number), helo.as_bytes(), from.as_bytes(), &[to.as_bytes()]);
}

fn bot(backstop: &Backstop, bot: u32, number: u32) {
    let (helo, from) = (format!("host{bot}.example.org"), format!("<forged{number}@victim.example>"));
    let to: Vec<String> =
        (0..3).map(|guess| format!("<invented{}@example.com>", (number + guess) % 90)).collect();
    let to: Vec<&[u8]> = to.iter().map(String::as_bytes).collect();
    let _ = session(backstop, infected(bot), helo.as_bytes(), from.as_bytes(), &to);
}

/// Of the networks for documentation (RFC 5737).
fn peer(host: u32) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(host % 250 + 1).unwrap_or(1))
}

fn infected(host: u32) -> Ipv4Addr {
    let last = u8::try_from(host % 250 + 1).unwrap_or(1);
    if host.is_multiple_of(3) { Ipv4Addr::new(198, 51, 100, last) } else { Ipv4Addr::new(203, 0, 113, last) }
}

const HOURS: u64 = 3;
const FASTER: u64 = 60;

const PICTURED: &str = r#"
[domains]
detect = false
names = ["example.com", "new.example.com"]

[monitor]
domains = ["new.example.com"]

[directory.staff.file]
path = "{dir}/addresses"

[suspensions]
files = ["{dir}/suspended"]

[client.dynamic]
reverse_dns = false

[http]
addresses = "plain"
"#;
