use crate::contestant::Client;
use std::cell::OnceCell;

/// Keeps the client processes until the end of the run: calls borrow theirs, also those of a process that is over.
#[derive(Default)]
pub(super) struct Processes {
    first: OnceCell<(Box<dyn Client>, Box<Processes>)>,
}

impl Processes {
    /// Keeps a process; returns it, and where the next one is kept. Only the first one is kept in a place.
    pub(super) fn keep(&self, client: Box<dyn Client>) -> (&dyn Client, &Self) {
        let (client, rest) = self.first.get_or_init(|| (client, Box::default()));
        (&**client, rest)
    }
}
