//! Init program of a Pi that was started from the SD card: no one logs in there, so it sets itself up, looks after its
//! services and tells on a page how it is.
//!
//! [`run`] is the one process of ours that is root. It listens to nothing; what listens (the roles) and what asks the
//! network (`bramble pi-net`) are children of it that may do nothing else. All of it runs on one thread, apart from
//! what may wait for the card. What decides is pure and takes the time as an argument: when a role is started again
//! (`respawn`), when the watchdog is fed (`watchdog::rule`), which address to have (`network::rule`), what time it is
//! (`clock`); the rest makes it so.

pub mod net;
pub mod state;

mod board;
mod card;
mod clock;
mod console;
mod context;
mod data;
mod drivers;
mod facts;
mod health;
mod helper;
mod hostname;
mod lines;
mod machine;
mod network;
mod plan;
mod program;
mod report;
mod respawn;
mod role;
mod settings;
mod ssh;
mod start;
mod watchdog;

pub use settings::{Addressing, Cidr, Pi, PiService};
pub use start::{Error, run};

/// Where the state is written, for the page of the registry.
pub const STATE: &str = "/run/bramble/pi.json";
