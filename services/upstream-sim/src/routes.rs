//! Routes by URL. Thin: questions are read in `ask`, answered in `sim`, spoilt in `faults`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use smol::Timer;
use smol::io::AsyncReadExt as _;
use tide::{Request, Response, Server};

use crate::ask::Ask;
use crate::faults::{Faults, HANG_MAX, Then};
use crate::reply::Reply;
use crate::sim::{Route, Settings, Sim, lock};

/// A description of faults has some 150 bytes.
const BODY_MAX: u64 = 4_096;

/// The stand-in, ready to be served.
pub fn app(settings: Settings) -> Server<Arc<Sim>> {
    let mut app = Server::with_state(Arc::new(Sim::new(settings)));
    app.at("/data/2.5/weather").get(|request| answer(Route::Weather, request));
    app.at("/geo/1.0/zip").get(|request| answer(Route::Zip, request));
    app.at("/sim/calls").get(calls);
    app.at("/sim/faults").get(show).post(set).delete(clear);
    app
}

async fn answer(route: Route, request: Request<Arc<Sim>>) -> tide::Result {
    let sim = request.state();
    let ask = Ask::of(request.url());
    let place = match route {
        Route::Weather => ask.place(&sim.places),
        Route::Zip => ask.located(&sim.places),
    };
    let plan = sim.arrives(place.as_ref().ok().copied());
    if !plan.latency.is_zero() {
        Timer::after(plan.latency).await;
    }
    let reply = match plan.then {
        Then::Answer => sim.honest(route, &ask, place),
        Then::Fail(status) => Reply::fault(status),
        Then::Garbage => Reply::gateway_page(200),
        Then::Hang => {
            Timer::after(HANG_MAX).await;
            Reply::gateway_page(504).closing()
        }
    };
    lock(&sim.calls).answered(reply.status);
    Ok(reply.into())
}

async fn calls(request: Request<Arc<Sim>>) -> tide::Result {
    let sim = request.state();
    Ok(guarded(&request).unwrap_or_else(|| Reply::json(200, &lock(&sim.calls).view(&sim.places)).into()))
}

async fn show(request: Request<Arc<Sim>>) -> tide::Result {
    Ok(guarded(&request).unwrap_or_else(|| shown(request.state())))
}

async fn set(mut request: Request<Arc<Sim>>) -> tide::Result {
    if let Some(refused) = guarded(&request) {
        return Ok(refused);
    }
    let mut body = Vec::new();
    request.take_body().take(BODY_MAX + 1).read_to_end(&mut body).await?;
    if body.len() as u64 > BODY_MAX {
        return Ok(refusal(413, vec!["the body is over 4 KiB".into()]));
    }
    let sim = request.state();
    match Faults::parse(&body, &sim.places) {
        Ok(faults) => {
            log::info!("faults set: {}", serde_json::to_string(&faults.view(&sim.places)).unwrap_or_default());
            *lock(&sim.faults) = faults;
            Ok(shown(sim))
        }
        Err(mistakes) => Ok(refusal(400, mistakes)),
    }
}

async fn clear(request: Request<Arc<Sim>>) -> tide::Result {
    if let Some(refused) = guarded(&request) {
        return Ok(refused);
    }
    log::info!("faults cleared");
    *lock(&request.state().faults) = Faults::default();
    Ok(shown(request.state()))
}

fn shown(sim: &Sim) -> Response {
    Reply::json(200, &lock(&sim.faults).view(&sim.places)).into()
}

/// Mistake in a request to `/sim/*`.
#[derive(Serialize)]
struct Refusal {
    errors: Vec<String>,
}

fn refusal(status: u16, errors: Vec<String>) -> Response {
    Reply::json(status, &Refusal { errors }).into()
}

/// Refuses `/sim/*` to clients of other hosts. The socket's peer counts; `Forwarded` headers are the peer's own words,
/// so tide's `remote()` is of no use here.
fn guarded(request: &Request<Arc<Sim>>) -> Option<Response> {
    if request.state().settings.allow_remote_faults || request.peer_addr().is_some_and(is_loopback) {
        return None;
    }
    let why = "/sim answers this machine alone; start with --allow-remote-faults to let others in";
    Some(refusal(403, vec![why.into()]))
}

fn is_loopback(peer: &str) -> bool {
    let address = peer.parse::<SocketAddr>().map(|socket| socket.ip()).or_else(|_| peer.parse::<IpAddr>());
    address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for peer in ["127.0.0.1:80", "127.9.9.9:1", "[::1]:80", "[::ffff:127.0.0.1]:80", "127.0.0.1", "::1"] {
            assert!(is_loopback(peer), "{peer}");
        }
        for peer in ["192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80", "localhost", "", "0.0.0.0:1", "/sock"]
        {
            assert!(!is_loopback(peer), "{peer}");
        }
    }
}
