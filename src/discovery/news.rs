//! Events of late, for a page that is looked at afterwards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Instance, whole_seconds};

/// How many are kept.
const KEPT: usize = 100;

/// Kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NewsKind {
    /// The instance was found for the first time.
    Registered,
    /// The instance says that it is ending.
    Ending,
    /// The instance ended, and had said so; or its source no longer lists it.
    Goodbye,
    /// Another instance answers at its address: the process was started anew.
    Replaced,
    /// The instance answers at another address than before.
    Moved,
    /// The source no longer tells of the instance, but it answers probes.
    Unconfirmed,
    /// The instance does not answer probes any more.
    Lost,
    /// The instance is there again after it was lost, unconfirmed, or had said goodbye.
    FoundAgain,
}

impl NewsKind {
    /// As a person reads it, after the instance's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Ending => "is ending",
            Self::Goodbye => "said goodbye",
            Self::Replaced => "was replaced by another one at the same address",
            Self::Moved => "moved",
            Self::Unconfirmed => "is unconfirmed",
            Self::Lost => "was lost",
            Self::FoundAgain => "was found again",
        }
    }
}

/// An event of an instance.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct News {
    /// Kind of the event.
    pub what: NewsKind,
    /// Id of the instance.
    pub id: Arc<str>,
    /// Of which service.
    pub service: Arc<str>,
    /// Where it was then.
    pub addr: std::net::SocketAddr,
    /// How long ago, in seconds.
    #[serde(rename = "ago_s", serialize_with = "whole_seconds")]
    pub ago: Duration,
}

/// The last [`KEPT`] happenings, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<(Instant, NewsKind, Arc<Instance>)>);

impl Ring {
    pub(super) fn push(&mut self, what: NewsKind, instance: &Arc<Instance>, now: Instant) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, what, Arc::clone(instance)));
    }

    /// Newest first.
    pub(super) fn list(&self, now: Instant) -> Vec<News> {
        let news = self.0.iter().rev().map(|(at, what, instance)| News {
            what: *what,
            id: Arc::clone(&instance.id),
            service: Arc::clone(&instance.service),
            addr: instance.addr,
            ago: now.saturating_duration_since(*at),
        });
        news.collect()
    }
}
