//! Answers of instances.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::de::DeserializeOwned;

use super::error::Error;
use crate::rejection::Rejection;
use crate::transport::ID_HEADER;

/// Answer of an instance. Any status: a 404 is an answer.
///
/// ```
/// # async fn ask(client: &bramble::Client) -> Result<(), bramble::client::Error> {
/// let answer = client.get("greeter", "/names").send().await?;
/// if answer.status == 200 {
///     let names: Vec<String> = answer.json()?;
///     println!("{} knows {}", answer.served_by(), names.join(", "));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `x-bramble-retry-after-ms`, or `Retry-After` where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The instance that answered, as it is known here: by its id, or by its address where it was found by a name or a
    /// list.
    pub from: Arc<str>,
    pub(super) headers: HeaderMap,
}

impl Answer {
    /// The first value of a header, if it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id of the process that answered, such as `greeter-5f0c2a9be81d4477`.
    pub fn served_by(&self) -> &str {
        self.header(ID_HEADER).unwrap_or(&self.from)
    }

    /// The error in the body, if there is one: see [`Rejection`].
    pub fn rejection(&self) -> Option<Rejection> {
        Rejection::read(self.status, &self.body, self.retry_after)
    }

    /// Whether the instance answers to another cluster only: it says so as [`serve`](crate::serve) does for each
    /// service. A 403 of the service itself is an answer.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.status == 403 && self.rejection().is_some_and(|rejection| rejection.code == "forbidden")
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// The body is not such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let unreadable = |cause| Error::Unreadable { instance: Arc::clone(&self.from), status: self.status, cause };
        serde_json::from_slice(&self.body).map_err(unreadable)
    }
}
