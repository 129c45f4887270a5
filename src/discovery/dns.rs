//! Instances behind a DNS name.
