//! A real `redis-server` on loopback, started and ended by the test, and a client that can say anything to it.

#![allow(dead_code)] // each test file uses a part

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::patience::patience;
use super::until::until;

/// Longer than anything here takes on a busy machine; reached only when something is broken.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(30));

/// Ends with the test, however that ends.
pub(crate) struct RedisServer {
    process: Child,
    addr: SocketAddr,
    folder: Folder,
    extra: Vec<String>,
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("bramble-redis-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of its own");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl RedisServer {
    pub(crate) fn start(extra: &[&str]) -> Self {
        let extra: Vec<String> = extra.iter().map(|&word| word.to_owned()).collect();
        // Another process may take a port between its choice and its use.
        for _ in 0..5 {
            let addr = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
            let folder = Folder::new();
            let mut server = Self { process: spawn(addr, &folder.0, &extra), addr, folder, extra: extra.clone() };
            if server.becomes_ready() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// URL for `[cache] store`.
    pub(crate) fn store(&self) -> String {
        format!("redis://localhost:{}", self.addr.port())
    }

    pub(crate) fn kill(&mut self) {
        self.end();
    }

    /// The same address, and nothing kept.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.addr, &self.folder.0, &self.extra);
        assert!(self.becomes_ready(), "redis-server does not start again");
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn hang(&self) {
        signal("STOP", self.process.id());
        until("redis-server is stopped", || self.state() == Some('T'));
    }

    pub(crate) fn go_on(&self) {
        signal("CONT", self.process.id());
    }

    /// The letter of proc(5).
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// The answer to one command, as text: without type and length, None for nil.
    pub(crate) fn say(&self, words: &[&[u8]]) -> Option<String> {
        say(self.addr, words).expect("redis-server answers")
    }

    /// Value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.say(&[b"GET", key.as_bytes()])
    }

    fn becomes_ready(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < *PATIENCE {
            if self.process.try_wait().expect("own child").is_some() {
                return false;
            }
            // A server that wants a password is up as well.
            if say(self.addr, &[b"PING"])
                .is_ok_and(|said| said.is_some_and(|said| said == "PONG" || said.contains("NOAUTH")))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn end(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(addr: SocketAddr, folder: &Path, extra: &[String]) -> Child {
    let started = Command::new("redis-server")
        .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &addr.port().to_string()])
        .args(extra)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    match started {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("there is no redis-server; on Debian, `sudo apt-get install redis-server` brings it")
        }
        Err(error) => panic!("redis-server: {error}"),
    }
}

pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success(), "kill -s {name} {pid}");
}

/// Sends a command on a connection of its own (RESP2).
fn say(addr: SocketAddr, words: &[&[u8]]) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&addr, *PATIENCE)?;
    stream.set_read_timeout(Some(*PATIENCE))?;
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).into_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    stream.write_all(&command)?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let line = line.trim_end();
    let Some(length) = line.strip_prefix('$') else {
        return Ok(line.get(1..).map(str::to_owned));
    };
    let Ok(length) = length.parse::<usize>() else { return Ok(None) };
    let mut bytes = vec![0; length];
    answer.read_exact(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
