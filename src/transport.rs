//! The wire: HTTP/1.1 by hyper over smol sockets, under tide and surf.

pub mod client;
pub mod io;
pub mod pool;
pub mod server;
pub mod tls;
