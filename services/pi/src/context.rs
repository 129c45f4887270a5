//! Context that all parts of `bramble pi` share. They run on one thread, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bramble::Config;
use event_listener::Event;
use smol::LocalExecutor;
use smol::lock::OnceCell;

use crate::board::Board;
use crate::machine::Machine;
use crate::network::lease::AddressConfig;
use crate::plan::Plan;
use crate::watchdog::rule::Rule;

/// The Pi and what is known of it.
pub(crate) struct Context {
    pub(crate) machine: Machine,
    pub(crate) board: Board,
    /// All settings of the services, as they are when nothing is set.
    pub(crate) defaults: Config,
    pub(crate) executor: LocalExecutor<'static>,
    /// Plan of the Pi, once the card is read.
    pub(crate) plan: OnceCell<Rc<Plan>>,
    /// All drivers there are have been loaded.
    pub(crate) drivers: OnceCell<()>,
    /// Whether the data partition can be used, once that is known.
    pub(crate) data: OnceCell<crate::state::Data>,
    /// The address in force.
    pub(crate) address: AddressWatch,
    /// Times of the roles' answers.
    pub(crate) rule: RefCell<Rule>,
    /// Set when all parts are to end.
    pub(crate) end: OnceCell<()>,
}

/// The current address, with a notification of each change.
#[derive(Debug, Default)]
pub(crate) struct AddressWatch {
    value: RefCell<Option<AddressConfig>>,
    /// When it was set last.
    since: Cell<Option<Instant>>,
    round: Cell<u64>,
    changed: Event,
}

impl AddressWatch {
    pub(crate) fn set(&self, value: Option<AddressConfig>) {
        self.since.set(value.as_ref().map(|_| Instant::now()));
        self.value.replace(value);
        self.round.set(self.round.get() + 1);
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn now(&self) -> Option<AddressConfig> {
        self.value.borrow().clone()
    }

    /// Resolves when the address is no longer the one it was in `round`.
    pub(crate) async fn changed_since(&self, round: u64) {
        loop {
            let changed = self.changed.listen();
            if self.round.get() != round {
                return;
            }
            changed.await;
        }
    }

    /// For how long it has been what it is, if there is one.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.since.get().map(|since| since.elapsed())
    }

    /// Counts the changes.
    pub(crate) fn round(&self) -> u64 {
        self.round.get()
    }
}
