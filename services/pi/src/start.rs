//! From the first moment to the last: what is begun when, and in which order it ends.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use async_signal::{Signal, Signals};
use bramble::Config;
use bramble::timeout::timeout;
use futures_lite::{FutureExt as _, StreamExt as _};
use rustix::process::Pid;
use smol::lock::OnceCell;
use smol::{LocalExecutor, Timer};

use crate::board::Board;
use crate::card::Card;
use crate::console::Console;
use crate::context::{AddressWatch, Context};
use crate::machine::{self, Machine};
use crate::plan::Plan;
use crate::role::ServiceSupervisor;
use crate::state::{Role, State, TimeSource};
use crate::{clock, data, drivers, facts, helper, hostname, network, report, ssh, watchdog};

/// File with the id of this process, for commands that shut the Pi down.
const PID: &str = "/run/bramble/pi.pid";
const NO_CARD: &str = "no card";
/// A card wears out by writing.
const SAVE_TIME: Duration = Duration::from_secs(3600);

/// Why it cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for all that is to be known cannot be made.
    #[error("/run/bramble cannot be made: {0}; this command is what init runs on the SD card, and for nothing else")]
    Folder(io::Error),
    /// There would be no way to end it.
    #[error("asking for signals: {0}")]
    Signals(io::Error),
}

/// Sets the Pi up and looks after it until SIGTERM. With `trial`, a folder stands in for the Pi: nothing outside it is
/// changed. `defaults` has the sections of all services that can run on it.
///
/// # Errors
/// It cannot even begin. Everything later is a problem that is shown, and no end.
pub fn run(trial: Option<PathBuf>, defaults: Config) -> Result<(), Error> {
    let machine = Machine::new(trial);
    // Before the first child: what we start never gets more power than it has, whatever program it becomes.
    let unprivileged = rustix::thread::set_no_new_privs(true);
    std::fs::create_dir_all(machine.path("/run/bramble")).map_err(Error::Folder)?;
    log_to(Console::new(&machine));
    if let Err(error) = unprivileged {
        log::warn!("no_new_privs: {error}");
    }
    if let Err(error) = machine::replace(&machine.path(PID), format!("{}\n", std::process::id()).as_bytes(), 0o644) {
        log::warn!("{PID}: {error}");
    }
    let signals = Signals::new([Signal::Term, Signal::Int]).map_err(Error::Signals)?;
    end_leftovers(&machine);
    let image = facts::image(&machine);
    let state = State {
        model: facts::model(&machine),
        serial: facts::serial(&machine),
        clock: clock::begin(&machine, image.built),
        image,
        ..State::default()
    };
    let context = Rc::new(context(machine, defaults, state));
    smol::block_on(context.executor.run(live(&context, signals)));
    Ok(())
}

fn context(machine: Machine, defaults: Config, state: State) -> Context {
    Context {
        board: Board::new(state, Console::new(&machine)),
        machine,
        defaults,
        executor: LocalExecutor::new(),
        plan: OnceCell::new(),
        drivers: OnceCell::new(),
        data: OnceCell::new(),
        address: AddressWatch::default(),
        rule: RefCell::default(),
        end: OnceCell::new(),
    }
}

/// Runs all parts at once: the roles need no network, and the network no card.
async fn live(context: &Rc<Context>, mut signals: Signals) {
    let spawn = |task| context.executor.spawn(task).detach();
    let begin = |task: fn(Rc<Context>) -> Task| spawn(task(Rc::clone(context)));
    begin(|context| Box::pin(network::look_after(context)));
    begin(|context| Box::pin(report::look_after(context)));
    begin(|context| Box::pin(drivers::load(context)));
    begin(|context| Box::pin(open_data(context)));
    begin(|context| Box::pin(keep_time(context)));
    let told = async {
        signals.next().await;
        None
    };
    let ready = async { Some(read_card(context).await) };
    let keepers = ready.or(told).await.unwrap_or_default();
    let keepers: Vec<_> = keepers.into_iter().map(|keeper| context.executor.spawn(keeper.keep())).collect();
    begin(|context| Box::pin(watchdog::look_after(context)));
    begin(|context| Box::pin(helper::look_after(context)));
    let ssh = context.executor.spawn(ssh::look_after(Rc::clone(context)));
    if context.plan.get().is_some() {
        let told = async {
            signals.next().await;
        };
        told.or(card_comes(context)).await;
    }
    log::info!("ending");
    let _ = context.end.set(()).await; // set only here
    for keeper in keepers {
        keeper.await;
    }
    if context.board.get(|state| state.ssh) {
        ssh.await;
    }
    let saved = async {
        if context.data.get().is_some() {
            helper::save(context).await;
            let machine = context.machine.clone();
            smol::unblock(move || data::close(&machine)).await;
        }
    };
    let _ = timeout(Duration::from_secs(3), saved).await; // a dying card must not hold the Pi up
    report::write(context);
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Resolves when a card is there that was missed at the start. init then starts this process again, which reads it.
async fn card_comes(context: &Rc<Context>) {
    if !context.board.has_problem(NO_CARD) {
        return std::future::pending().await; // it was read, or cannot be
    }
    while !Card::is_there(&context.machine) {
        Timer::after(Duration::from_secs(1)).await;
    }
    log::warn!("the SD card is there now: beginning anew with its settings");
}

/// Reads the card, and makes of it what can be made.
async fn read_card(context: &Rc<Context>) -> Vec<ServiceSupervisor> {
    let (machine, defaults) = (context.machine.clone(), context.defaults.clone());
    let (plan, problem, is_there) = smol::unblock(move || match Card::open(&machine) {
        Ok(card) => (Plan::read(Some(&card), &defaults), None, true),
        Err(sentence) => (Plan::read(None, &defaults), Some(sentence), Card::is_there(&machine)),
    })
    .await;
    if let Some(problem) = problem {
        context.board.problem(if is_there { "card" } else { NO_CARD }, problem);
    }
    for (number, problem) in plan.problems.iter().enumerate() {
        context.board.problem(&format!("config {number:03}"), problem);
    }
    hostname::set(context, &plan.pi);
    let role = |planned: &crate::plan::Planned| Role { name: planned.role.as_str().into(), ..Role::default() };
    context.board.set(|state| state.roles = plan.roles.iter().map(role).collect());
    context.rule.replace(watchdog::rule::Rule::new(plan.roles.len()));
    let plan = Rc::new(plan);
    let _ = context.plan.set(Rc::clone(&plan)).await; // set only here
    let keeper = |number| ServiceSupervisor { context: Rc::clone(context), plan: Rc::clone(&plan), number };
    (0..plan.roles.len()).map(keeper).collect()
}

/// Opens the data partition, once its driver is there, and takes the time from it.
async fn open_data(context: Rc<Context>) {
    context.drivers.wait().await; // by then the card is there, or will not come
    let machine = context.machine.clone();
    let (opened, saved) = smol::unblock(move || {
        let opened = data::open(&machine);
        (opened, clock::saved(&machine))
    })
    .await;
    if let Some(problem) = opened.problem {
        context.board.problem("data", problem);
    }
    let built = context.board.get(|state| state.image.built);
    if context.board.get(|state| state.clock.source) == TimeSource::Build {
        let (time, source) = clock::guess(clock::now().as_secs(), built, saved);
        clock::set(&context.machine, Duration::from_secs(time));
        context.board.set(|state| state.clock.source = source);
    }
    context.board.set(|state| state.data = opened.data);
    let _ = context.data.set(opened.data).await; // set only here
}

async fn keep_time(context: Rc<Context>) {
    loop {
        Timer::after(SAVE_TIME).await;
        helper::save(&context).await;
    }
}

/// An earlier life of this process may have been cut off; what ends with its standard input has ended, these have not.
fn end_leftovers(machine: &Machine) {
    for pid in machine.names("/proc").iter().filter_map(|name| name.parse::<i32>().ok()) {
        // "17 (busybox) S 1 ...": the parent is init.
        let stat = machine.text(&format!("/proc/{pid}/stat")).unwrap_or_default();
        let command = machine.text(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_ours = ["/bin/busybox\0udhcpc\0", "/usr/sbin/dropbear\0"].iter().any(|name| command.starts_with(name));
        let is_orphan = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1)) == Some("1");
        if let (true, true, Some(pid)) = (is_ours && is_orphan, !machine.is_trial, Pid::from_raw(pid)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM); // it may have ended by itself
        }
    }
}

/// Sends our own log where those of the services go.
fn log_to(console: Console) {
    struct Log(Mutex<Console>);

    impl log::Log for Log {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Info || metadata.target().starts_with("bramble")
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                let console = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                console.log(record.level(), "bramble", &record.args().to_string());
            }
        }

        fn flush(&self) {}
    }

    if log::set_boxed_logger(Box::new(Log(Mutex::new(console)))).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::poll_once;

    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn a_card_that_was_missed_makes_it_begin_anew_when_it_comes_and_a_broken_one_does_not() {
        let folder = Folder::new("late-card");
        let context = Rc::new(context(folder.machine(), Config::default(), State::default()));
        smol::block_on(async {
            folder.write("card/x", "");
            context.board.problem("card", "it cannot be read");
            assert!(poll_once(card_comes(&context)).await.is_none(), "it would begin anew for ever");
            std::fs::remove_dir_all(folder.0.join("card")).expect("own folder");
            context.board.problem(NO_CARD, "there is none");
            assert!(poll_once(card_comes(&context)).await.is_none());
            folder.write("card/x", "");
            assert!(poll_once(card_comes(&context)).await.is_some());
        });
    }
}
