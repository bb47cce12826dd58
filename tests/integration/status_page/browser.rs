//! The page in a real browser: light, dark, on a phone, with and without scripts, by the keyboard, and when the server goes.

use backstop_harness::Chromium;

use super::*;

/// One browser for all of it: to start it takes as long as the rest.
#[test]
fn in_a_real_browser() {
    let chromium = Chromium::start();
    let backstop = site().start();
    let _ = session(
        &backstop,
        CLIENT,
        b"bot.elsewhere.test",
        SENDER,
        &[b"<anna@example.test>", b"<nobody@example.test>"],
    );
    let long = format!("<{}@example.test>", "verylonglocalpart".repeat(3));
    let _ = session(
        &backstop,
        CLIENT,
        b"a.very.long.name.of.a.host.that.nobody.needs.elsewhere.test",
        SENDER,
        &[long.as_bytes()],
    );
    let url = format!("http://localhost:{}", backstop.http_port());

    it_is_well_in_every_size_and_scheme(&chromium, &url);
    it_follows_what_happens(&chromium, &backstop, &url);
    it_rests_while_nobody_looks(&chromium, &url);
    it_needs_no_script(&chromium, &url);
    the_form_is_used_by_the_keyboard(&chromium, &url);
    it_tells_when_the_server_goes_and_comes_back(&chromium, backstop);
}

fn it_is_well_in_every_size_and_scheme(chromium: &Chromium, url: &str) {
    let tab = chromium.tab();
    for scheme in ["light", "dark"] {
        tab.scheme(scheme);
        for width in [360, 768, 1280] {
            tab.size(width, 800);
            tab.open(&format!("{url}/?address=nobody%40example.test&client=203.0.113.9"));
            tab.evaluate("for (const it of document.querySelectorAll('details')) it.open = true");
            let wide = tab.evaluate(TOO_WIDE);
            assert_eq!(wide, serde_json::json!([]), "{width} {scheme}");
            let torn = tab.evaluate(TORN);
            assert_eq!(torn, serde_json::json!([]), "{width} {scheme}");
            let faint = tab.evaluate(TOO_FAINT);
            assert_eq!(faint, serde_json::json!([]), "{width} {scheme}");
        }
        let dark = tab.evaluate("getComputedStyle(document.body).backgroundColor");
        assert_eq!(dark == "rgb(251, 251, 250)", scheme == "light", "{dark}");
    }
    assert_eq!(tab.evaluate(NAMELESS), serde_json::json!([]), "what a screen reader would not tell");
    let requests = tab.requests();
    assert!(requests.len() > 10 && requests.iter().all(|it| it.starts_with(url)), "{requests:?}");
    assert_eq!(tab.faults(), Vec::<String>::new());
}

/// A refusal is seen without anybody doing anything, and what the reader has opened, typed and chosen stays.
fn it_follows_what_happens(chromium: &Chromium, backstop: &Backstop, url: &str) {
    let tab = chromium.tab();
    tab.size(1000, 500);
    tab.open(url);
    tab.evaluate("document.querySelector('#recent details').open = true");
    tab.evaluate("document.querySelector('#recent summary').focus()");
    let opened = tab.evaluate("document.querySelector('#recent details').id");
    tab.evaluate("document.getElementById('address').value = 'half.typed@'");
    tab.evaluate("document.getElementById('meanings').scrollIntoView()");
    let place = "Math.round(document.getElementById('meanings').getBoundingClientRect().top)";
    let before = tab.evaluate(place);
    let _ = session(backstop, CLIENT, b"live.elsewhere.test", SENDER, &[b"<live@example.test>"]);
    tab.wait("document.getElementById('recent').innerText.includes('l…@example.test')");
    let kept = format!(
        "document.getElementById({opened}).open && document.activeElement.id === {opened} + '-open' \
         && document.getElementById('address').value === 'half.typed@'"
    );
    assert_eq!(tab.evaluate(&kept), true, "{}", tab.evaluate("document.activeElement.outerHTML"));
    assert_eq!(tab.evaluate(place), before, "nothing moves under the reader's eyes");
    assert!(
        tab.evaluate("document.getElementById('live').innerText")
            .as_str()
            .is_some_and(|it| it.starts_with("Live"))
    );
    // What is marked is not taken away.
    tab.evaluate("getSelection().selectAllChildren(document.getElementById('recent'))");
    let _ = session(backstop, CLIENT, b"live.elsewhere.test", SENDER, &[b"<marked@example.test>"]);
    tab.wait("document.getElementById('top').innerText.includes('m…@example.test')");
    assert_eq!(
        tab.evaluate("document.getElementById('recent').innerText.includes('m…@example.test')"),
        false
    );
    tab.evaluate("getSelection().removeAllRanges()");
    tab.wait("document.getElementById('recent').innerText.includes('m…@example.test')");
    assert_eq!(tab.faults(), Vec::<String>::new());
}

fn it_rests_while_nobody_looks(chromium: &Chromium, url: &str) {
    let tab = chromium.tab();
    let count = r#"
        window.waiting = new Set(); window.asked = 0;
        const set = window.setTimeout, clear = window.clearTimeout, get = window.fetch;
        window.setTimeout = (run, after) => { const id = set(() => { window.waiting.delete(id); run(); }, after); window.waiting.add(id); return id; };
        window.clearTimeout = id => { window.waiting.delete(id); clear(id); };
        window.fetch = (...all) => { window.asked += 1; return get(...all); };
        let hidden = false;
        Object.defineProperty(document, "hidden", { get: () => hidden });
        window.look = away => { hidden = away; document.dispatchEvent(new Event("visibilitychange")); };
    "#;
    tab.call("Page.addScriptToEvaluateOnNewDocument", serde_json::json!({ "source": count }));
    tab.open(url);
    assert_eq!(tab.evaluate("window.waiting.size"), 1, "it waits to ask");
    tab.evaluate("window.look(true)");
    assert_eq!(tab.evaluate("window.waiting.size"), 0, "it waits for nothing");
    let asked = tab.evaluate("window.asked");
    tab.evaluate("window.look(false)");
    assert_eq!(tab.evaluate("window.asked").as_u64(), asked.as_u64().map(|asked| asked + 1), "at once");
    tab.wait("window.waiting.size === 1");
}

fn it_needs_no_script(chromium: &Chromium, url: &str) {
    let tab = chromium.tab();
    tab.without_scripts();
    tab.open(&format!("{url}/?since=day&address=nobody%40example.test"));
    let text = tab.text();
    for words in [
        "ENFORCING",
        "n…@example.test",
        "people: nobody@example.test is absent",
        "As numbers",
        "Load it again",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(tab.evaluate("document.getElementById('live').hidden"), true, "nothing says that it is live");
    // A link is enough to see the present.
    tab.evaluate("document.querySelector('noscript a').focus()");
    tab.press("Enter");
    tab.wait_for_page();
    assert!(tab.evaluate("location.href").as_str().is_some_and(|it| it.ends_with("/?since=day")));
    assert_eq!(tab.faults(), Vec::<String>::new());
}

fn the_form_is_used_by_the_keyboard(chromium: &Chromium, url: &str) {
    let tab = chromium.tab();
    tab.open(url);
    tab.evaluate("document.getElementById('to-explain').focus()");
    tab.press("Enter");
    // The next stop behind the heading that the link leads to.
    tab.press("Tab");
    tab.wait("document.activeElement.id === 'address'");
    tab.type_text("nobody@example.test");
    tab.press("Tab");
    tab.type_text("no address");
    tab.press("Enter");
    tab.wait_for_page();
    tab.wait("document.getElementById('client').getAttribute('aria-invalid') === 'true'");
    let told = tab.evaluate("document.getElementById(document.getElementById('client').getAttribute('aria-describedby')).innerText");
    assert!(told.as_str().is_some_and(|told| told.contains("is no IP address")), "{told}");
    assert_eq!(
        tab.evaluate("document.getElementById('address').value"),
        "nobody@example.test",
        "it is not typed twice"
    );
    tab.evaluate("document.getElementById('client').select(); document.getElementById('client').focus()");
    tab.type_text("203.0.113.9");
    for _ in 0..3 {
        tab.press("Tab");
    }
    assert_eq!(tab.evaluate("document.activeElement.innerText"), "Explain");
    tab.press("Enter");
    tab.wait_for_page();
    tab.wait("document.getElementById('answer')?.innerText.includes('[unknown-recipient]') === true");
    let shown = tab.evaluate("document.getElementById('explain').getBoundingClientRect().top < innerHeight");
    assert_eq!(shown, true, "the answer is in sight");
    let found = tab.evaluate("location.search + location.hash");
    assert!(
        found
            .as_str()
            .is_some_and(|it| it.contains("address=nobody%40example.test") && it.ends_with("#explain"))
    );
    // The page with the wrong field came with status 400, of which the browser makes a note.
    let faults: Vec<String> = tab.faults().into_iter().filter(|fault| !fault.contains("400")).collect();
    assert_eq!(faults, Vec::<String>::new());
}

fn it_tells_when_the_server_goes_and_comes_back(chromium: &Chromium, backstop: Backstop) {
    let tab = chromium.tab();
    let port = backstop.http_port();
    tab.open(&format!("http://localhost:{port}"));
    tab.wait("document.getElementById('live').innerText.startsWith('Live')");
    drop(backstop);
    tab.wait(
        "document.getElementById('live').innerText.startsWith('The server does not answer. Last answer: ')",
    );
    let told = tab.evaluate("document.getElementById('live').innerText");
    let shown = tab.evaluate("document.getElementById('now').innerText");
    assert!(
        told.as_str().zip(shown.as_str()).is_some_and(|(told, shown)| told.contains(shown)),
        "{told} {shown}"
    );
    assert_eq!(tab.evaluate("document.getElementById('live').className"), "bad");
    let _again = site().env("BACKSTOP__HTTP__LISTEN", &format!("127.0.0.1:{port}")).start();
    tab.wait("document.getElementById('live').innerText.startsWith('Live')");
    assert_ne!(tab.evaluate("document.getElementById('now').innerText"), shown);
    // Refused; or reset, or closed without a word, if it went while it was asked.
    let is_of_going = |fault: &String| {
        ["net::ERR_CONNECTION_", "net::ERR_EMPTY_RESPONSE"].iter().any(|it| fault.contains(it))
    };
    let faults = tab.faults();
    assert!(faults.iter().all(is_of_going), "{faults:?}");
}

/// Elements that reach beyond the window.
const TOO_WIDE: &str = "
    [document.documentElement, ...document.querySelectorAll('body *')]
        .filter(it => it.getBoundingClientRect().right > document.documentElement.clientWidth + 1 || it === document.documentElement && it.scrollWidth > innerWidth)
        .filter(it => getComputedStyle(it).display !== 'none')
        .map(it => it.outerHTML.slice(0, 120))
";

/// Names and kinds of directories, and the headings of their columns, that do not stand in one line.
const TORN: &str = "
    [...document.querySelectorAll('#directories th, #directories td:nth-child(2)')].filter(it => {
        const range = document.createRange();
        range.selectNodeContents(it);
        return new Set([...range.getClientRects()].map(it => Math.round(it.bottom))).size > 1;
    }).map(it => it.outerHTML)
";

/// Text whose contrast with what is behind it is less than 4.5, and marks of the plot below 3 (WCAG 2.2, 1.4.3 and 1.4.11).
const TOO_FAINT: &str = r"
    (() => {
        const parts = colour => colour.match(/[\d.]+/g).map(Number);
        const light = ([red, green, blue]) => {
            const line = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            return 0.2126 * line(red) + 0.7152 * line(green) + 0.0722 * line(blue);
        };
        const behind = element => {
            for (let it = element; it !== null; it = it.parentElement) {
                const colour = parts(getComputedStyle(it).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        const contrast = (one, other) => {
            const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
            return (high + 0.05) / (low + 0.05);
        };
        const faint = [];
        let looked = 0;
        for (const it of document.querySelectorAll('body *')) {
            if (!it.checkVisibility()) continue;
            const style = getComputedStyle(it);
            const isText = [...it.childNodes].some(child => child.nodeType === 3 && child.data.trim() !== '');
            const isMark = it.tagName === 'path' && style.fill !== 'none';
            if (!isText && !isMark && it.tagName !== 'INPUT') continue;
            looked += 1;
            const found = contrast(parts(isMark ? style.fill : style.color), behind(it));
            if (found < (isMark ? 3 : 4.5)) faint.push(found.toFixed(2) + ' ' + it.outerHTML.slice(0, 100));
            if (it.tagName === 'INPUT') {
                const hint = contrast(parts(getComputedStyle(it, '::placeholder').color), behind(it));
                if (hint < 4.5) faint.push(hint.toFixed(2) + ' the example in ' + it.id);
            }
        }
        return looked > 100 ? faint : ['only ' + looked];
    })()
";

/// Fields without a label, pictures without words, headings out of order, ids that are there twice.
const NAMELESS: &str = "
    (() => {
        const faults = [];
        for (const it of document.querySelectorAll('input')) if (it.labels.length !== 1) faults.push(it.outerHTML);
        for (const it of document.querySelectorAll('svg')) if (!it.getAttribute('aria-label')) faults.push(it.outerHTML);
        for (const it of document.querySelectorAll('th')) if (!it.scope) faults.push(it.outerHTML);
        if (document.querySelectorAll('h1').length !== 1) faults.push('h1');
        const ids = [...document.querySelectorAll('[id]')].map(it => it.id);
        faults.push(...ids.filter((id, at) => ids.indexOf(id) !== at));
        for (const it of document.querySelectorAll('a[href^=\"#\"]')) if (!document.querySelector(it.getAttribute('href'))) faults.push(it.outerHTML);
        if (!document.documentElement.lang || !document.title) faults.push('lang or title');
        return faults;
    })()
";

const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const SENDER: &[u8] = b"<forged@victim.test>";
