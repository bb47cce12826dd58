//! A real browser without a window: Chromium, steered through a pipe (Chrome DevTools Protocol,
//! <https://chromedevtools.github.io/devtools-protocol/>).

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command};
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::dir::TempDir;
use crate::process::{Process, Signal};
use crate::wait::wait_until;

/// A running Chromium.
#[derive(Debug)]
pub struct Chromium {
    pipe: RefCell<Pipe>,
    _process: Process,
    _dir: TempDir,
}

/// One tab of it, that shares nothing with the others.
#[derive(Debug)]
pub struct Tab<'a> {
    chromium: &'a Chromium,
    session: String,
}

/// JSON texts with a NUL behind each.
#[derive(Debug)]
struct Pipe {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_id: u64,
    /// What nobody has asked for yet.
    events: Vec<Value>,
}

impl Chromium {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed, or does not answer.
    #[must_use]
    pub fn start() -> Self {
        let dir = TempDir::new("chromium");
        let mut command = Command::new("bash");
        // `--remote-debugging-pipe` reads from descriptor 3 and writes to 4.
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "bash", "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", dir.path().display()))
            .arg("about:blank")
            .env("HOME", dir.path())
            .env("XDG_CONFIG_HOME", dir.path())
            .env("XDG_CACHE_HOME", dir.path());
        let (process, input, output) =
            Process::spawn_piped("chromium", &mut command, &dir.join("log"), Signal::TERM);
        let output = BufReader::new(output);
        let pipe = RefCell::new(Pipe { input, output, last_id: 0, events: Vec::new() });
        let chromium = Self { pipe, _process: process, _dir: dir };
        let _ = chromium.call(None, "Browser.getVersion", json!({}));
        chromium
    }

    /// A new tab, with nothing in it.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn tab(&self) -> Tab<'_> {
        let context = self.call(None, "Target.createBrowserContext", json!({}));
        let target = json!({ "url": "about:blank", "browserContextId": context["browserContextId"] });
        let target = self.call(None, "Target.createTarget", target);
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach);
        let session = session["sessionId"].as_str().expect("it has a name").to_owned();
        let tab = Tab { chromium: self, session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        loop {
            match self.call_once(session, method, &params) {
                Ok(result) => return result,
                // The page gave way to another one while it was asked; the other one can be.
                Err(error) if method == "Runtime.evaluate" && error["message"] == NAVIGATED => {}
                Err(error) => panic!("{method}: {error}"),
            }
        }
    }

    fn call_once(&self, session: Option<&str>, method: &str, params: &Value) -> Result<Value, Value> {
        let mut pipe = self.pipe.borrow_mut();
        pipe.last_id += 1;
        let id = pipe.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let text = format!("{message}\0");
        pipe.input.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let mut answer = pipe.read();
            if answer["id"] == id {
                let error = answer["error"].take();
                return if error.is_null() { Ok(answer["result"].take()) } else { Err(error) };
            }
            pipe.events.push(answer);
        }
    }
}

/// What Chromium says then.
const NAVIGATED: &str = "Inspected target navigated or closed";

impl Pipe {
    fn read(&mut self) -> Value {
        let mut text = Vec::new();
        self.output.read_until(0, &mut text).expect("chromium's pipe can be read");
        assert_eq!(text.pop(), Some(0), "chromium has ended");
        serde_json::from_slice(&text).expect("chromium writes JSON")
    }
}

impl Tab<'_> {
    /// Calls a method of the protocol, and gives its result.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.chromium.call(Some(&self.session), method, params)
    }

    /// Goes to a page, and waits until all of it is there.
    ///
    /// # Panics
    /// When it can't be had within 20 s.
    #[track_caller]
    pub fn open(&self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {}", gone["errorText"]);
        self.wait_for_page();
    }

    /// Waits until a page that was asked for is there.
    ///
    /// # Panics
    /// When it is not within 20 s.
    #[track_caller]
    pub fn wait_for_page(&self) {
        wait_until(Duration::from_secs(20), "the page to load", || {
            let _ = self.call("Runtime.evaluate", json!({ "expression": "0" }));
            !self.events("Page.loadEventFired").is_empty()
        });
    }

    /// The value of an expression in JavaScript. Needs no script of the page's own: it works where those are switched off.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result:#}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it is not within 20 s.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        wait_until(Duration::from_secs(20), expression, || self.evaluate(expression) == true);
    }

    /// The text of the page, as it is read.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> String {
        self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses and releases a key: `Tab`, `Enter` or `Space`.
    ///
    /// # Panics
    /// For any other.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Space" => (32, " "),
            other => panic!("{other} is not known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types a text where the focus is.
    #[track_caller]
    pub fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// The size of the window, in CSS pixels.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32) {
        let is_phone = width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone }),
        );
    }

    /// Light or dark, as the reader has asked his system for.
    #[track_caller]
    pub fn scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// Switches the scripts of pages off.
    #[track_caller]
    pub fn without_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    /// A picture of what is in the window, as PNG; of the whole page if it is `whole`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn picture(&self, whole: bool) -> Vec<u8> {
        let params = json!({ "format": "png", "captureBeyondViewport": whole });
        let shot = self.call("Page.captureScreenshot", params);
        let data = shot["data"].as_str().expect("it is there");
        BASE64_STANDARD.decode(data).expect("it is base64")
    }

    /// What the browser complained of until now: errors of scripts, what the page's own policy forbade, what could not be
    /// loaded.
    #[must_use]
    #[track_caller]
    pub fn faults(&self) -> Vec<String> {
        let _ = self.evaluate("0");
        let mut faults = Vec::new();
        for event in self.events("Log.entryAdded") {
            let entry = &event["entry"];
            if matches!(entry["level"].as_str(), Some("error" | "warning")) {
                faults.push(entry.to_string());
            }
        }
        for event in self.events("Runtime.consoleAPICalled") {
            if matches!(event["type"].as_str(), Some("error" | "warning" | "assert")) {
                faults.push(event.to_string());
            }
        }
        faults.extend(self.events("Runtime.exceptionThrown").iter().map(Value::to_string));
        faults.extend(self.events("Network.loadingFailed").iter().map(Value::to_string));
        faults
    }

    /// The addresses of everything that the page has asked for until now.
    #[must_use]
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let _ = self.call("Runtime.evaluate", json!({ "expression": "0" }));
        let sent = self.events("Network.requestWillBeSent");
        sent.iter().filter_map(|event| event["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Takes the events of one kind that came for this tab.
    fn events(&self, method: &str) -> Vec<Value> {
        let mut pipe = self.chromium.pipe.borrow_mut();
        let all = std::mem::take(&mut pipe.events);
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for mut event in all {
            if event["method"] == method && event["sessionId"] == self.session.as_str() {
                taken.push(event["params"].take());
            } else {
                left.push(event);
            }
        }
        pipe.events = left;
        taken
    }
}

const FLAGS: [&str; 12] = [
    "--headless=new",
    // It runs as root, and shows nothing but pages of ours.
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--lang=en",
];
