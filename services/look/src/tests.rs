//! What can be measured of the look.

mod contrast;
