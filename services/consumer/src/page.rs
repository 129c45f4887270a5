//! The pages. Each is a pure function of what was typed, what was answered and `now`.

pub mod failure;
pub mod form;
mod format;
pub mod icon;
pub mod layout;
pub mod result;
