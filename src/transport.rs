//! HTTP/1.1 by hyper over smol sockets: the server under tide, the client under surf and under calls to instances.

pub mod client;
pub mod io;
pub mod server;
pub mod tls;

/// Header of an answer: the id of the process that gives it, as it is announced. The mark of a service of Bramble.
pub const ID_HEADER: &str = "x-bramble-id";

/// Header of a refusal for want of room: in how many milliseconds the server may be asked again. `Retry-After` beside
/// it has whole seconds only.
pub const RETRY_AFTER_MS: &str = "x-bramble-retry-after-ms";

/// Header of a request: the milliseconds that its caller still waits for the answer. Envoy's name for it.
pub const TIME_LEFT: &str = "x-envoy-expected-rq-timeout-ms";
