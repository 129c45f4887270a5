//! Measures of the stylesheet.

mod contrast;
