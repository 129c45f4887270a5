//! The page that shows every service on the LAN. It keeps no state that others need: without it they find each other
//! just as well, and a second one shows the same.

pub mod circuits;
pub mod demo;
mod events;
pub mod gather;
mod page;
mod pi;
mod reply;
mod settings;
mod site;
mod state;
pub mod view;

use std::path::PathBuf;

use bramble::serve::{Error, Host, event_stream};
use bramble::{Config, Service};
use serde_json::json;
use tide::{Request, StatusCode};

use reply::json;
pub use settings::RegistrySettings;
pub use state::State;

/// The service. [`service`] has it listen where the settings say.
pub const SERVICE: Service = Service::named("registry")
    .version(env!("CARGO_PKG_VERSION"))
    .calls_all()
    .page("Bramble services")
    .open_to_all()
    .section::<RegistrySettings>();

/// The service, listening where `[registry] listen` says.
pub fn service(config: &Config) -> Service {
    SERVICE.listen(config.section::<RegistrySettings>().listen)
}

/// Parts of the page that only some settings have, such as the demo and the Pi.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Where the demo takes what its buttons ask for.
    pub demo_control: Option<String>,
    /// Path of the file that `bramble pi` writes of the Pi this runs on; without it there is no page of the Pi.
    pub pi_state: Option<PathBuf>,
}

/// Serves the page until the process is told to end.
///
/// # Errors
/// When it cannot listen.
pub async fn run(host: Host, extras: Extras) -> Result<(), Error> {
    let mut state = State::new(&host);
    if let Some(control) = extras.demo_control {
        state = state.with_demo(&host, control);
    }
    if let Some(file) = extras.pi_state {
        state = state.with_pi(file);
    }
    host.serve(app(state)).await
}

/// The page on `/`, the same as JSON on `/api/services`, and its changes on `/events`; on a Pi its own page on `/pi`
/// and `/api/pi`.
pub fn app(state: State) -> tide::Server<State> {
    let mut app = tide::with_state(state);
    site::SITE.install(&mut app);
    app.at(page::LIVE.path).get(|request: Request<State>| async move { Ok(page::LIVE.answer(&request)) });
    if app.state().demo.is_some() {
        app.at("/demo/*deed").post(demo::routes::press).all(demo::routes::is_a_button);
    }
    pi::routes::add(&mut app);
    app.at("/").get(services);
    app.at("/api/services").get(services_as_json);
    app.at("/events").get(changes);
    app
}

async fn services(request: Request<State>) -> tide::Result {
    let view = request.state().view().await;
    Ok(bramble_look::answer(StatusCode::Ok, page::whole(&view)))
}

async fn services_as_json(request: Request<State>) -> tide::Result {
    Ok(json(StatusCode::Ok, &json!(request.state().view().await)))
}

async fn changes(request: Request<State>) -> tide::Result {
    let state = request.state();
    let refused = |code, message| json!({"error": {"code": code, "message": message}});
    if state.health.is_draining() {
        return Ok(json(StatusCode::ServiceUnavailable, &refused("ending", "This service is ending.")));
    }
    let Ok(permit) = state.readers.try_enter() else {
        let mut response = json(StatusCode::ServiceUnavailable, &refused("too_many", "There are enough readers."));
        response.insert_header("retry-after", "5");
        return Ok(response);
    };
    Ok(event_stream(events::events(state.clone()), state.health.drains(), permit))
}
