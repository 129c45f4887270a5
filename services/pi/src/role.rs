//! Runs one service of the Pi: starts it, asks how it is, and starts it again when it has ended.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bramble::timeout::timeout;
use futures_lite::{AsyncRead, FutureExt as _};
use smol::Timer;

use crate::clock;
use crate::context::Context;
use crate::health::{self, Answer};
use crate::lines::Lines;
use crate::plan::{self, Plan, Planned};
use crate::program::{Program, Running, in_words};
use crate::respawn::Respawn;
use crate::settings::PiService;

/// Sixteen times what a service takes in the demo, and three of them leave most of a Pi 2's memory free.
const MEMORY: u64 = 64 << 20;
/// How often a service is asked how it is.
const ASK: Duration = Duration::from_secs(2);
/// Until it serves, it is looked more often whether it does.
const ASK_AT_START: Duration = Duration::from_millis(100);
/// A service that has not answered so long after its start is started anew.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Requests in flight have 10 s (`drain_timeout`), the goodbye 1.5 s.
const ENDS_WITHIN: Duration = Duration::from_secs(13);
/// "Wrong usage or configuration" of every Bramble command.
const WRONG_SETTINGS: i32 = 2;

/// User and group of the role on the card.
pub(crate) fn user(role: PiService) -> u32 {
    match role {
        PiService::Producer => 901,
        PiService::Consumer => 902,
        _ => 903,
    }
}

/// A service that is looked after.
pub(crate) struct ServiceSupervisor {
    pub(crate) context: Rc<Context>,
    pub(crate) plan: Rc<Plan>,
    /// Number of the role in the plan.
    pub(crate) number: usize,
}

/// Why a run has ended.
enum End {
    /// The Pi ends.
    Told,
    ByItself(ExitStatus),
    /// The service never answered, and was killed.
    Silent,
    NotStarted(io::Error),
}

impl ServiceSupervisor {
    /// Runs it until everything is to end.
    pub(crate) async fn keep(self) {
        let board = &self.context.board;
        let name = self.planned().role.as_str();
        if let Some(why) = self.planned().blocked {
            board.set_role(self.number, |role| role.last_end = Some(format!("not started: {why}")));
            return;
        }
        let owner = rustix::process::geteuid().is_root().then(|| user(self.planned().role));
        if let Err(error) = self.planned().write(&self.context.machine, owner) {
            board.problem(name, format!("the settings of the {name} cannot be written: {error}"));
        }
        let mut respawn = Respawn::default();
        loop {
            let started = Instant::now();
            let (end, last_line) = match self.program().and_then(|program| program.start(&self.context)) {
                Ok(running) => self.live(running).await,
                Err(error) => (End::NotStarted(error), String::new()),
            };
            let needs_a_person = matches!(&end, End::ByItself(status) if status.code() == Some(WRONG_SETTINGS));
            let words = match end {
                End::Told => break,
                End::ByItself(status) if last_line.is_empty() => in_words(status),
                End::ByItself(status) => format!("{}: {}", in_words(status), self.without_folder(&last_line)),
                End::Silent => "it did not answer within a minute and was ended".into(),
                End::NotStarted(error) => error.to_string(),
            };
            let pause = respawn.ended(started.elapsed(), needs_a_person);
            if needs_a_person {
                self.context.rule.borrow_mut().needs_a_person(self.number);
            }
            board
                .problem(name, format!("the {name} has ended ({words}); it is started again in {} s", pause.as_secs()));
            board.set_role(self.number, |role| {
                (role.pid, role.healthy, role.memory_kib, role.last_end) = (None, false, None, Some(words));
            });
            if timeout(pause, self.context.end.wait()).await.is_some() {
                break;
            }
            board.set_role(self.number, |role| role.restarts += 1);
        }
        board.set_role(self.number, |role| (role.pid, role.healthy) = (None, false));
    }

    fn planned(&self) -> &Planned {
        &self.plan.roles[self.number]
    }

    fn program(&self) -> io::Result<Program> {
        let machine = &self.context.machine;
        let role = self.planned().role;
        let path = |path: &str| machine.path(path);
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().env("PATH", "/bin").env("RUST_LIB_BACKTRACE", "0").current_dir("/");
        command.arg(role.as_str()).arg("--until-stdin-closes");
        command.arg("--config").arg(path(&format!("{}/bramble.toml", plan::folder(role).display())));
        match role {
            PiService::Producer => command.arg("--clock-unset").arg(path(clock::UNSET)),
            PiService::Registry => command.arg("--pi-state").arg(path(crate::STATE)),
            _ => &mut command,
        };
        Ok(Program { name: role.as_str().into(), command, user: Some(user(role)), memory: Some(MEMORY) })
    }

    /// Runs the service once, from its start to its end; returns its last words.
    async fn live(&self, mut running: Running) -> (End, String) {
        let pid = running.child.id();
        self.context.board.set_role(self.number, |role| role.pid = Some(pid));
        let addr = Rc::new(Cell::new(None));
        if let Some(out) = running.child.stdout.take() {
            let told = read_address(Rc::clone(&self.context), self.number, out, Rc::clone(&addr));
            self.context.executor.spawn(told).detach();
        }
        let end = {
            let told = async {
                self.context.end.wait().await;
                End::Told
            };
            let silent = async {
                self.ask_on(&addr).await;
                End::Silent
            };
            let ended = async {
                match running.child.status().await {
                    Ok(status) => End::ByItself(status),
                    Err(error) => End::NotStarted(error),
                }
            };
            ended.or(told).or(silent).await
        };
        if matches!(end, End::Told) {
            running.stdin = None; // it drains now
            if !matches!(timeout(ENDS_WITHIN, running.child.status()).await, Some(Ok(_))) {
                log::warn!("{} did not end by itself", self.planned().role.as_str());
            }
        }
        (end, running.finish().await)
    }

    /// Asks on and on how it is. Resolves when it has not answered once in time.
    async fn ask_on(&self, addr: &Cell<Option<SocketAddr>>) {
        let started = Instant::now();
        let mut has_answered = false;
        while has_answered || started.elapsed() < STARTS_WITHIN {
            let answer = match addr.get() {
                Some(addr) => health::ask(addr).await,
                None => Answer::None,
            };
            if answer != Answer::None {
                self.context.rule.borrow_mut().answered(self.number, Instant::now());
                has_answered = true;
            }
            let is_well = answer == Answer::Well;
            if is_well {
                self.context.board.well(self.planned().role.as_str());
            }
            if self.context.board.get(|state| state.roles.get(self.number).is_some_and(|role| role.healthy != is_well))
            {
                self.context.board.set_role(self.number, |role| role.healthy = is_well);
            }
            Timer::after(if has_answered { ASK } else { ASK_AT_START }).await;
        }
    }

    /// The line without the service's own folder, which is nothing to a person: the files in it come from the card.
    fn without_folder(&self, line: &str) -> String {
        let folder = plan::folder(self.planned().role);
        let folder = self.context.machine.path(&folder.to_string_lossy());
        line.trim_start_matches("bramble: ").replace(&format!("{}/", folder.display()), "")
    }
}

/// Reads where it listens, and then on, so that it can never block on writing.
async fn read_address(
    context: Rc<Context>,
    number: usize,
    out: impl AsyncRead + Unpin,
    addr: Rc<Cell<Option<SocketAddr>>>,
) {
    let mut lines = Lines::of(out);
    while let Some(line) = lines.next().await {
        if let Some(found) = health::address(&line) {
            addr.set(Some(found));
            let url = line.trim_start_matches("listening on ").to_owned();
            context.board.set_role(number, |role| role.url = Some(url));
        }
    }
}
