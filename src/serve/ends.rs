//! A service is told to end by a signal, or by the end of its parent, whose pipe then closes.

use std::io::Stdin;

use async_signal::{Signal, Signals};
use futures_lite::{AsyncReadExt as _, FutureExt as _, StreamExt as _};
use smol::Async;

use super::Error;

/// What tells a service to end.
#[derive(Debug)]
pub struct Ends {
    signals: Signals,
    pub(super) stdin: Option<Async<Stdin>>,
}

impl Ends {
    /// SIGTERM and SIGINT, and if `ends_with_stdin` the end of standard input.
    ///
    /// # Errors
    /// When the system gives no signals.
    pub fn new(ends_with_stdin: bool) -> Result<Self, Error> {
        let signals = Signals::new([Signal::Term, Signal::Int])
            .map_err(|cause| Error::System { doing: "asking for signals", cause })?;
        let stdin = ends_with_stdin.then(|| Async::new(std::io::stdin())).transpose();
        let stdin = stdin.map_err(|cause| Error::System { doing: "watching standard input", cause })?;
        Ok(Self { signals, stdin })
    }

    /// Resolves at the next signal, or when standard input has closed.
    pub async fn next(&mut self) {
        let signal = async {
            self.signals.next().await;
        };
        match &mut self.stdin {
            Some(stdin) => signal.or(closed(stdin)).await,
            None => signal.await,
        }
    }
}

/// Resolves when the other end of `stdin` has closed; what it says before is of no interest.
async fn closed(stdin: &mut Async<Stdin>) {
    let mut ignored = [0; 64];
    while let Ok(1..) = stdin.read(&mut ignored).await {}
}
