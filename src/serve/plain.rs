//! A server that is no service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use smol::Executor;

use crate::config::Config;
use crate::transport::server::{self, Options};

/// Serves `app` at `addr` and nothing besides: it has no id and no `/healthz`, and is not announced. For a port that
/// only this machine uses, or a stand-in in a test; a service is a [`Host`](crate::Host). Port 0 takes a free one.
///
/// It listens once this returns, with the address at which it does; it serves while the future is polled.
///
/// # Errors
/// The system does not let it listen there.
pub fn serve_routes<S>(
    app: tide::Server<S>,
    addr: SocketAddr,
    executor: &Arc<Executor<'static>>,
) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)>
where
    S: Clone + Send + Sync + 'static,
{
    let listener = server::listen(addr)?;
    let addr = listener.get_ref().local_addr()?;
    let options = Options::new((&Config::default().server).into(), Arc::clone(executor));
    let serving = async move {
        server::serve(listener, app, options, std::future::pending()).await;
    };
    Ok((addr, serving))
}
