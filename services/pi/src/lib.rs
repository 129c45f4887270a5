//! What runs on a Pi that was started from the SD card: nobody logs in there, so it sets itself up, looks after its
//! services and tells on a page how it is.

pub mod net;
pub mod state;
