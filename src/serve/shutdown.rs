//! A service is told to end by a signal, or by the end of its parent, whose pipe then closes.

use std::fmt;
use std::future::pending;
use std::io::Stdin;
use std::pin::Pin;

use async_signal::{Signal, Signals};
use futures_lite::{AsyncReadExt as _, FutureExt as _, StreamExt as _};
use smol::Async;

use super::Error;

/// Signal that tells a service to end.
pub struct ShutdownSignal(Source);

enum Source {
    Process {
        signals: Signals,
        /// None where it is not watched, or has closed.
        stdin: Option<Async<Stdin>>,
    },
    /// None once it has resolved.
    Future(Option<Pin<Box<dyn Future<Output = ()> + Send>>>),
}

impl ShutdownSignal {
    /// SIGTERM, SIGINT and SIGHUP, and if `ends_with_stdin` the end of standard input.
    ///
    /// # Errors
    /// When the system gives no signals.
    pub fn new(ends_with_stdin: bool) -> Result<Self, Error> {
        let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
            .map_err(|cause| Error::System { doing: "asking for signals", cause })?;
        let stdin = ends_with_stdin.then(|| Async::new(std::io::stdin())).transpose();
        let stdin = stdin.map_err(|cause| Error::System { doing: "watching standard input", cause })?;
        Ok(Self(Source::Process { signals, stdin }))
    }

    /// The end of `future`.
    pub fn when(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Source::Future(Some(Box::pin(future))))
    }

    /// Resolves at the next signal, or once when standard input has closed or the future has ended.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Source::Process { signals, stdin } => {
                let signal = async {
                    signals.next().await;
                };
                let closed = async {
                    match stdin.as_mut() {
                        Some(open) => closed(open).await,
                        None => pending().await,
                    }
                    *stdin = None; // it stays closed, and would count as the second signal
                };
                signal.or(closed).await;
            }
            Source::Future(future) => {
                match future.as_mut() {
                    Some(running) => running.await,
                    None => pending().await,
                }
                *future = None;
            }
        }
    }
}

impl fmt::Debug for ShutdownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownSignal").finish_non_exhaustive()
    }
}

/// Resolves when the other end of `stdin` has closed; what it says before is of no interest.
async fn closed(stdin: &mut Async<Stdin>) {
    let mut ignored = [0; 64];
    while let Ok(1..) = stdin.read(&mut ignored).await {}
}
