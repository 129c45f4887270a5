//! The programs that are measured, and how each is started: on a port of its own on loopback, with one thread, without
//! a log.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use bench_http::LISTENING;

use crate::Result;
use crate::process::{Interrupt, Process, is_installed};

/// Under valgrind, too.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Role of a program in a measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answers by itself.
    Serve,
    /// Asks the backend for each answer.
    Forward,
}

/// A program that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    OursServer,
    AxumServer,
    OursForward,
    AxumForward,
    Haproxy,
    Nginx,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] =
        [Self::OursServer, Self::AxumServer, Self::OursForward, Self::AxumForward, Self::Haproxy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OursServer | Self::OursForward => "bramble",
            Self::AxumServer => "axum",
            Self::AxumForward => "axum + reqwest",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    pub(crate) fn task(self) -> Task {
        match self {
            Self::OursServer | Self::AxumServer => Task::Serve,
            _ => Task::Forward,
        }
    }

    /// Whether the program is installed. Our own programs are there, or there is no [`Bench`].
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Haproxy => is_installed("haproxy"),
            Self::Nginx => is_installed("nginx"),
            _ => true,
        }
    }

    /// The file of one of our own programs, and the feature it is built with.
    fn own(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::OursServer => Some(("ours-server", "ours")),
            Self::AxumServer => Some(("axum-server", "peers")),
            Self::OursForward => Some(("ours-forward", "ours")),
            Self::AxumForward => Some(("axum-forward", "peers")),
            Self::Haproxy | Self::Nginx => None,
        }
    }
}

/// A program that runs and can be asked.
pub(crate) struct Running {
    process: Process,
    addr: SocketAddr,
}

impl Running {
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Paths and addresses that all programs share: our programs, a directory for files, and the backend for forwarding.
pub(crate) struct Bench {
    programs: PathBuf,
    dir: TempDir,
    interrupt: Interrupt,
    backend: Option<Running>,
}

impl Bench {
    /// Sees to it that our programs are there, and starts the backend.
    pub(crate) fn new(interrupt: Interrupt) -> Result<Self> {
        let me = env::current_exe()?;
        let programs = me.parent().ok_or("this program lies nowhere")?.to_owned();
        for feature in ["ours", "peers"] {
            let files: Vec<&str> = Peer::ALL
                .iter()
                .filter_map(|peer| peer.own().filter(|own| own.1 == feature).map(|own| own.0))
                .collect();
            build(feature, &files)?;
            if let Some(file) = files.iter().find(|file| !programs.join(file).is_file()) {
                return Err(format!("{file} is not there: start this by `cargo run --release`, which builds it").into());
            }
        }
        let mut bench = Self { programs, dir: TempDir::new()?, interrupt, backend: None };
        bench.backend = Some(bench.start(Peer::OursServer, None)?);
        Ok(bench)
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// For files; removed in the end.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// Starts `peer`, and waits until it serves. With `profile`: under callgrind, which writes there at the end.
    pub(crate) fn start(&self, peer: Peer, profile: Option<&Path>) -> Result<Running> {
        let (program, addr) = match peer {
            Peer::Haproxy => {
                let addr = free_port()?;
                (self.haproxy(addr)?, Some(addr))
            }
            Peer::Nginx => {
                let addr = free_port()?;
                (self.nginx(addr)?, Some(addr))
            }
            _ => (self.own(peer), None),
        };
        let program = match profile {
            Some(profile) => under_callgrind(&program, profile),
            None => program,
        };
        let mut process = Process::start(&program)?;
        let addr = match addr {
            Some(addr) => self.wait_for(addr)?,
            None => said_by(&mut process)?,
        };
        Ok(Running { process, addr })
    }

    fn own(&self, peer: Peer) -> Command {
        let mut program = Command::new(self.programs.join(peer.own().map_or("", |own| own.0)));
        if peer.task() == Task::Forward {
            program.arg(self.backend());
        }
        program
    }

    fn backend(&self) -> String {
        self.backend.as_ref().map(|backend| backend.addr.to_string()).unwrap_or_default()
    }

    fn haproxy(&self, addr: SocketAddr) -> Result<Command> {
        let file = self.dir().join(format!("haproxy.{}.cfg", addr.port()));
        let backend = self.backend();
        fs::write(
            &file,
            format!(
                "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 3s
    http-reuse always
frontend form
    bind {addr}
    default_backend producers
backend producers
    server one {backend}
"
            ),
        )?;
        let mut program = Command::new("haproxy");
        program.args(["-db", "-q", "-f"]).arg(file);
        Ok(program)
    }

    fn nginx(&self, addr: SocketAddr) -> Result<Command> {
        let dir = self.dir().join(format!("nginx.{}", addr.port()));
        fs::create_dir(&dir)?;
        let file = dir.join("nginx.conf");
        let (backend, here) = (self.backend(), dir.display());
        fs::write(
            &file,
            format!(
                "daemon off;
master_process off;
pid {here}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 30s;
    keepalive_requests 1000000000;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    upstream producers {{
        server {backend};
        keepalive 16;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {addr};
        location / {{
            proxy_pass http://producers;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
            ),
        )?;
        let mut program = Command::new("nginx");
        program.args(["-e", "stderr", "-c"]).arg(file);
        Ok(program)
    }

    /// Waits until a program accepts at `addr`.
    fn wait_for(&self, addr: SocketAddr) -> Result<SocketAddr> {
        let began = Instant::now();
        while began.elapsed() < STARTS_WITHIN {
            self.interrupt.check()?;
            if TcpStream::connect(addr).is_ok() {
                return Ok(addr);
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("no program listens at {addr}").into())
    }
}

/// Builds `files` by the cargo that has started this program; without one they are taken as they are.
///
/// Each feature by itself: in one build with both, the features of axum's tokio and of our hyper would be everybody's.
fn build(feature: &str, files: &[&str]) -> Result<()> {
    let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
    let mut cargo = Command::new(cargo);
    cargo.args(["build", "--release", "--quiet", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).args(["--features", feature]);
    for file in files {
        cargo.args(["--bin", file]);
    }
    if cargo.status()?.success() { Ok(()) } else { Err("the programs to measure cannot be built".into()) }
}

/// The address in the one line that our programs print when they serve; they end, and so does the line, if they cannot.
fn said_by(process: &mut Process) -> Result<SocketAddr> {
    let out = process.child().stdout.take().ok_or("its output was taken")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let addr = line.trim_end().strip_prefix(LISTENING).ok_or("it ended without listening")?;
    Ok(addr.parse()?)
}

fn under_callgrind(program: &Command, profile: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(profile);
    valgrind.args(["--tool=callgrind", "-q"]).arg(out).arg(program.get_program()).args(program.get_args());
    valgrind
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A directory that goes with its owner.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("bench-http.{}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
