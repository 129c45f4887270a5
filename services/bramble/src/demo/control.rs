//! The other end of the demo's buttons. The page of all services shows them and passes on what is pressed; done it is
//! here, one deed after the other, by the process that owns the children.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bramble::serve::serve_routes;
use smol::channel::{Receiver, Sender, bounded};
use smol::{Executor, Task};
use tide::{Request, Response, StatusCode};

use crate::Failure;

/// Deeds that wait for their turn; a person has two hands.
const WAITING: usize = 8;

/// What a button asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Tell the state of the producers and of the weather API.
    State,
    /// Something done to the producer of this number.
    Producer(u8, Fate),
    /// Every call to the weather API fails from now on.
    BreakWeather,
    /// And is well again.
    MendWeather,
}

/// What can be done to a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It ends as it does when it is told to.
    Stop,
    /// It ends without a word.
    Kill,
    /// It runs only a tenth of the time, for a while.
    Slow,
    /// It starts anew, at its old address.
    Restart,
}

/// A deed, and where to say what came of it: JSON, or a sentence about what went wrong.
pub(super) type Order = (Deed, Sender<Result<String, String>>);

/// The listener. Dropped, it ends.
pub(super) struct Control {
    /// Where the page sends what is pressed; who does not know the last part cannot.
    pub(super) url: String,
    pub(super) orders: Receiver<Order>,
    _serving: Task<()>,
}

impl Control {
    /// Listens on loopback, at any free port.
    pub(super) fn start(executor: &Arc<Executor<'static>>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Running(format!("the demo's buttons: {error}"));
        let token = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let (to, orders) = bounded(WAITING);
        let mut app = tide::with_state(to);
        app.at(&format!("/{token}/state")).get(|request| take(request, Some(Deed::State)));
        app.at(&format!("/{token}/producers/:number/:fate")).post(|request: Request<Sender<Order>>| {
            let deed = producer(&request);
            take(request, deed)
        });
        app.at(&format!("/{token}/weather/break")).post(|request| take(request, Some(Deed::BreakWeather)));
        app.at(&format!("/{token}/weather/mend")).post(|request| take(request, Some(Deed::MendWeather)));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (addr, serving) = serve_routes(app, loopback, executor).map_err(failed)?;
        Ok(Self { url: format!("http://{addr}/{token}"), orders, _serving: executor.spawn(serving) })
    }
}

fn producer(request: &Request<Sender<Order>>) -> Option<Deed> {
    let fate = match request.param("fate").ok()? {
        "stop" => Fate::Stop,
        "kill" => Fate::Kill,
        "slow" => Fate::Slow,
        "restart" => Fate::Restart,
        _ => return None,
    };
    Some(Deed::Producer(request.param("number").ok()?.parse().ok()?, fate))
}

/// Hands the deed over, and waits for what comes of it.
async fn take(request: Request<Sender<Order>>, deed: Option<Deed>) -> tide::Result {
    let Some(deed) = deed else { return Ok(Response::new(StatusCode::NotFound)) };
    let (reply, done) = bounded(1);
    let came_of_it = match request.state().send((deed, reply)).await {
        Ok(()) => done.recv().await.unwrap_or_else(|_| Err("the demo is ending".into())),
        Err(_) => Err("the demo is ending".into()),
    };
    Ok(match came_of_it {
        Ok(json) => Response::builder(StatusCode::Ok).body(json).content_type(tide::http::mime::JSON).build(),
        Err(why) => Response::builder(StatusCode::Conflict).body(why).content_type(tide::http::mime::PLAIN).build(),
    })
}
