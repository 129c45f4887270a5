//! State of the Pi: every part writes its own here, and faults are said where a person may see them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::console::Console;
use crate::state::{Role, State};

/// The one state of the Pi.
#[derive(Debug)]
pub(crate) struct Board {
    state: RefCell<State>,
    /// By topic, so that what has healed is forgotten.
    problems: RefCell<BTreeMap<String, String>>,
    has_changed: Cell<bool>,
    pub(crate) console: Console,
}

impl Board {
    pub(crate) fn new(state: State, console: Console) -> Self {
        Self { state: RefCell::new(state), problems: RefCell::default(), has_changed: Cell::new(true), console }
    }

    /// Changes the state.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
        self.has_changed.set(true);
    }

    /// Changes the state of one role.
    pub(crate) fn set_role(&self, role: usize, change: impl FnOnce(&mut Role)) {
        self.set(|state| {
            if let Some(role) = state.roles.get_mut(role) {
                change(role);
            }
        });
    }

    /// Looks something up.
    pub(crate) fn get<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// Reports a problem: a sentence that says what to do. It stands until the topic is [`well`](Self::well) again.
    pub(crate) fn problem(&self, topic: &str, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let known = self.problems.borrow_mut().insert(topic.to_owned(), sentence.clone());
        if known.as_ref() != Some(&sentence) {
            self.tell();
            self.console.log(log::Level::Warn, "bramble", &sentence);
        }
    }

    /// Reports that a topic has no problem (any more).
    pub(crate) fn well(&self, topic: &str) {
        if self.problems.borrow_mut().remove(topic).is_some() {
            self.tell();
            self.console.log(log::Level::Info, "bramble", &format!("{topic}: well again"));
        }
    }

    /// Whether something is wrong with a topic.
    pub(crate) fn has_problem(&self, topic: &str) -> bool {
        self.problems.borrow().contains_key(topic)
    }

    /// Whether something has changed since this was asked last.
    pub(crate) fn take_changed(&self) -> bool {
        self.has_changed.take()
    }

    fn tell(&self) {
        let problems = self.problems.borrow().values().cloned().collect();
        self.set(|state| state.problems = problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn a_problem_is_said_once_shown_while_it_lasts_and_gone_when_it_has_healed() {
        let folder = Folder::new("board");
        folder.write("dev/tty1", "");
        let board = Board::new(State::default(), Console::new(&folder.machine()));
        for _ in 0..3 {
            board.problem("cable", "no cable; put it in");
        }
        let screen = std::fs::read_to_string(folder.0.join("dev/tty1")).expect("a screen");
        assert_eq!(screen, "bramble: no cable; put it in\r\n");
        assert_eq!(board.get(|state| state.problems.clone()), ["no cable; put it in"]);
        board.well("cable");
        assert!(board.get(|state| state.problems.is_empty()));
    }
}
