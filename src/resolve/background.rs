//! Lookups that go on after their caller's time is over, so that the next caller has the answer. A resolver that takes
//! 2 s for the first question of a name would else never answer callers that wait for 1 s.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use smol::Executor;

use super::search::search;
use super::{Resolver, ResolverConfig};

/// Lookups that go on at the same time, each of another name. One more ends with its caller.
const AT_ONCE: usize = 8;
/// How long a lookup goes on.
const GOES_ON_FOR: Duration = Duration::from_secs(10);

/// Where lookups go on, and which do.
#[derive(Debug)]
pub(super) struct Background {
    /// The executor. Its tasks hold resolvers, so a resolver must not hold it.
    executor: Weak<Executor<'static>>,
    /// At most [`AT_ONCE`].
    names: Arc<Mutex<HashSet<String>>>,
}

impl Background {
    pub(super) fn new(executor: &Arc<Executor<'static>>) -> Self {
        Self { executor: Arc::downgrade(executor), names: Arc::default() }
    }

    /// Takes a permit for the lookup of `key`, unless it goes on already or too many do.
    fn permit(&self, key: &str) -> Option<LookupPermit> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = names.len() < AT_ONCE && names.insert(key.to_owned());
        is_free.then(|| LookupPermit { key: key.to_owned(), names: Arc::clone(&self.names) })
    }
}

/// A lookup that goes on. Dropped, it has ended.
struct LookupPermit {
    key: String,
    names: Arc<Mutex<HashSet<String>>>,
}

impl Drop for LookupPermit {
    fn drop(&mut self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A lookup under way. Dropped without an outcome, since its caller's time is over, it goes on in the background.
pub(super) struct Pending<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) config: &'a Arc<ResolverConfig>,
    pub(super) key: &'a str,
    pub(super) name: &'a str,
    pub(super) is_absolute: bool,
    pub(super) has_outcome: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let background = self.resolver.0.background.as_ref().filter(|_| !self.has_outcome);
        let Some(background) = background else { return };
        let Some(executor) = background.executor.upgrade() else { return };
        let Some(permit) = background.permit(self.key) else { return };
        let (resolver, config) = (self.resolver.clone(), Arc::clone(self.config));
        let (name, is_absolute) = (self.name.to_owned(), self.is_absolute);
        let goes_on = async move {
            match search(&config, &name, is_absolute, Instant::now() + GOES_ON_FOR).await {
                Ok(answer) => resolver.remember(permit.key.clone(), &config, &answer, Instant::now()),
                Err(error) => log::debug!("{error}"),
            }
        };
        executor.spawn(goes_on).detach();
    }
}
