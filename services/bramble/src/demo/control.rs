//! The other end of the demo's buttons. The page of all services shows them and passes on what is pressed; done it is
//! here, one action after the other, by the process that owns the children.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bramble::serve::serve_routes;
use smol::channel::{Receiver, Sender, bounded};
use smol::{Executor, Task};
use tide::{Request, Response, StatusCode};

use crate::Failure;

/// Actions that wait for their turn; a person has two hands.
const WAITING: usize = 8;

/// Action that a button asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlAction {
    /// Tell the state of the producers and of the weather API.
    State,
    /// An action on the producer of this number.
    Producer(u8, ProducerAction),
    /// Every call to the weather API fails from now on.
    BreakWeather,
    /// And is well again.
    MendWeather,
}

/// Action on a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProducerAction {
    /// The process gets SIGTERM and drains.
    Stop,
    /// The process gets SIGKILL.
    Kill,
    /// The process runs only a tenth of the time, for a while.
    Slow,
    /// The process starts anew, at its old address.
    Restart,
}

/// An action, and where to say what came of it: JSON, or a sentence about what went wrong.
pub(super) type Order = (ControlAction, Sender<Result<String, String>>);

/// The listener. Dropped, it ends.
pub(super) struct Control {
    /// URL to which the page sends what is pressed; a client that does not know the last part cannot.
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
        app.at(&format!("/{token}/state")).get(|request| take(request, Some(ControlAction::State)));
        app.at(&format!("/{token}/producers/:number/:action")).post(|request: Request<Sender<Order>>| {
            let action = producer(&request);
            take(request, action)
        });
        app.at(&format!("/{token}/weather/break")).post(|request| take(request, Some(ControlAction::BreakWeather)));
        app.at(&format!("/{token}/weather/mend")).post(|request| take(request, Some(ControlAction::MendWeather)));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (addr, serving) = serve_routes(app, loopback, executor).map_err(failed)?;
        Ok(Self { url: format!("http://{addr}/{token}"), orders, _serving: executor.spawn(serving) })
    }
}

fn producer(request: &Request<Sender<Order>>) -> Option<ControlAction> {
    let action = match request.param("action").ok()? {
        "stop" => ProducerAction::Stop,
        "kill" => ProducerAction::Kill,
        "slow" => ProducerAction::Slow,
        "restart" => ProducerAction::Restart,
        _ => return None,
    };
    Some(ControlAction::Producer(request.param("number").ok()?.parse().ok()?, action))
}

/// Hands the action over, and waits for what comes of it.
async fn take(request: Request<Sender<Order>>, action: Option<ControlAction>) -> tide::Result {
    let Some(action) = action else { return Ok(Response::new(StatusCode::NotFound)) };
    let (reply, done) = bounded(1);
    let came_of_it = match request.state().send((action, reply)).await {
        Ok(()) => done.recv().await.unwrap_or_else(|_| Err("the demo is ending".into())),
        Err(_) => Err("the demo is ending".into()),
    };
    Ok(match came_of_it {
        Ok(json) => Response::builder(StatusCode::Ok).body(json).content_type(tide::http::mime::JSON).build(),
        Err(why) => Response::builder(StatusCode::Conflict).body(why).content_type(tide::http::mime::PLAIN).build(),
    })
}
