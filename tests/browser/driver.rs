//! A browser as a person has it, driven by what WebDriver (W3C) needs of HTTP: one request, one JSON object back.

use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::process::{PATIENCE, kill};

/// The name under which WebDriver gives an element (W3C WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Keys by their WebDriver names (W3C WebDriver, 17.4.2).
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

/// Whether pages may run scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    On,
    Off,
}

/// A browser. Dropped, it and all it wrote are gone.
pub(crate) struct Browser {
    driver: Child,
    addr: SocketAddr,
    session: String,
    folder: PathBuf,
}

impl Browser {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_with(script, &[])
    }

    /// With more of chromium's command line.
    pub(crate) fn start_with(script: Script, flags: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("bramble-browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .env("TMPDIR", &folder)
            .env("HOME", &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let mut said = BufReader::new(driver.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port = said.find_map(|line| {
            line.rsplit_once("on port ")?.1.trim_end_matches('.').parse::<u16>().ok().filter(|port| *port != 0)
        });
        thread::spawn(move || said.for_each(drop)); // a full pipe would stop it
        let addr = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver tells its port")));
        let mut browser = Self { driver, addr, session: String::new(), folder };
        let javascript = if script == Script::On { 1 } else { 2 };
        let profile = browser.folder.join("profile");
        let profile = format!("--user-data-dir={}", profile.display());
        let basic = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let args = [&basic[..], &[&*profile], flags].concat();
        let asked = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {
            "args": args,
            "prefs": {"profile.managed_default_content_settings.javascript": javascript},
        }}}});
        let told = browser.tell("POST", "/session", &asked);
        browser.session = format!("/session/{}", told["sessionId"].as_str().expect("an id"));
        browser
    }

    /// Sends a command. An error of WebDriver fails the test.
    fn tell(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_to(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    fn try_to(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let (status, answer) =
            ask(self.addr, method, &format!("{}{path}", self.session), &body).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        if status == 200 { Ok(answer["value"].take()) } else { Err(answer["value"]["message"].to_string()) }
    }

    /// Opens the page at `path` of `host`, an address or a name with a port.
    pub(crate) fn open(&self, host: impl Display, path: &str) {
        self.tell("POST", "/url", &json!({"url": format!("http://{host}{path}")}));
    }

    pub(crate) fn url(&self) -> String {
        self.tell("GET", "/url", &Value::Null).as_str().expect("a string").to_owned()
    }

    pub(crate) fn title(&self) -> String {
        self.tell("GET", "/title", &Value::Null).as_str().expect("a string").to_owned()
    }

    /// Presses keys one by one, wherever the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let each = keys.chars().flat_map(|key| {
            [json!({"type": "keyDown", "value": key.to_string()}), json!({"type": "keyUp", "value": key.to_string()})]
        });
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": each.collect::<Vec<_>>()}]});
        self.tell("POST", "/actions", &actions);
    }

    /// The text of the first element that matches; none if there is none.
    pub(crate) fn text(&self, css: &str) -> Option<String> {
        let one = self.element(css)?;
        Some(self.try_to("GET", &format!("/element/{one}/text"), &Value::Null).ok()?.as_str()?.to_owned())
    }

    /// As text that fails if it is not there.
    pub(crate) fn reads(&self, css: &str) -> String {
        self.text(css).unwrap_or_else(|| panic!("no {css} on {}", self.url()))
    }

    pub(crate) fn click(&self, css: &str) {
        let one = self.element(css).unwrap_or_else(|| panic!("no {css} on {}", self.url()));
        self.tell("POST", &format!("/element/{one}/click"), &json!({}));
    }

    /// A property of the element that has the focus.
    pub(crate) fn focused(&self, property: &str) -> Value {
        let active = self.tell("GET", "/element/active", &Value::Null);
        let one = active[ELEMENT].as_str().expect("an element");
        self.tell("GET", &format!("/element/{one}/property/{property}"), &Value::Null)
    }

    /// Presses Tab until the focus is on the element with this id, as a person does.
    pub(crate) fn tab_to(&self, id: &str) {
        for _ in 0..20 {
            self.press(TAB);
            if self.focused("id") == id {
                return;
            }
        }
        panic!("no way to {id} by Tab");
    }

    fn element(&self, css: &str) -> Option<String> {
        let found = self.try_to("POST", "/element", &json!({"using": "css selector", "value": css})).ok()?;
        Some(found[ELEMENT].as_str()?.to_owned())
    }

    /// Result of a script. It runs even where pages may run none.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.tell("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Value that a script hands to its callback.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.tell("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn devtools(&self, command: &str, params: &Value) -> Value {
        self.tell("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Waits for what is about to become so.
    pub(crate) fn soon(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < *PATIENCE, "not seen: {what}; on {}: {:?}", self.url(), self.text("body"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Status and body. chromedriver keeps a connection open whatever one asks for, so its answer ends by its length.
fn ask(addr: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, *PATIENCE)?;
    stream.set_read_timeout(Some(2 * *PATIENCE))?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not a whole answer");
    let mut answer = BufReader::new(stream);
    let (mut status, mut length) = (None, None);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
        if let Some((name, value)) = line.split_once(':') {
            length =
                length.or_else(|| name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?);
        }
    }
    let mut body = vec![0; length.ok_or_else(broken)?];
    answer.read_exact(&mut body)?;
    Ok((status.ok_or_else(broken)?, String::from_utf8(body).map_err(|_| broken())?))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends chromium; chromedriver by its number.
        let _ = self.try_to("DELETE", "", &Value::Null);
        if matches!(self.driver.try_wait(), Ok(None)) {
            kill("TERM", self.driver.id());
        }
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
