//! The page that shows every service on the LAN. It keeps no state that others need: without it they find each other
//! just as well, and a second one shows the same.

pub mod circuits;
pub mod demo;
mod events;
pub mod gather;
mod page;
mod pi;
mod settings;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bramble::bulkhead::Bulkhead;
use bramble::discovery::Directory;
use bramble::serve::{Error, Health, Host};
use bramble::trust::Trust;
use bramble::{Config, Service};
use futures_lite::future;
use serde_json::json;
use smol::Executor;
use tide::{Body, Request, Response, StatusCode};

use demo::DemoControl;
use events::{Feed, READERS};
use gather::Gather;
use view::View;

pub use settings::RegistrySettings;

/// The service. [`service`] has it listen where the settings say.
pub const SERVICE: Service = Service::named("registry")
    .version(env!("CARGO_PKG_VERSION"))
    .calls_all()
    .open_to_all()
    .section::<RegistrySettings>();

/// The service, listening where `[registry] listen` says.
pub fn service(config: &Config) -> Service {
    SERVICE.listen(config.section::<RegistrySettings>().listen)
}

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct State {
    id: Arc<str>,
    directory: Directory,
    trust: Arc<Trust>,
    health: Arc<Health>,
    executor: Arc<Executor<'static>>,
    gather: Arc<Gather>,
    readers: Arc<Bulkhead>,
    /// In the demo alone.
    demo: Option<Arc<DemoControl>>,
    /// What `bramble pi` writes, where the Pi was started from the SD card.
    pi: Option<Arc<PathBuf>>,
}

/// What the page has besides, where it is part of something larger.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Where the demo takes what its buttons ask for.
    pub demo_control: Option<String>,
    /// What `bramble pi` writes of the Pi this runs on; without it there is no page of the Pi.
    pub pi_state: Option<PathBuf>,
}

impl State {
    /// What `host` sees.
    pub fn new(host: &Host) -> Self {
        let gather = Gather::new(host.directory.clone(), host.outside(), Arc::clone(&host.executor));
        Self {
            id: Arc::clone(&host.id),
            directory: host.directory.clone(),
            trust: Arc::clone(&host.trust),
            health: Arc::clone(&host.health),
            executor: Arc::clone(&host.executor),
            gather: Arc::new(gather),
            readers: Bulkhead::new("/events", READERS),
            demo: None,
            pi: None,
        }
    }

    /// With the demo's state and buttons; its parent process serves at the URL `control`.
    #[must_use]
    pub fn with_demo(self, host: &Host, control: String) -> Self {
        Self { demo: Some(Arc::new(DemoControl::new(host.outside(), control))), ..self }
    }

    /// With a page of the Pi, told of in `file`.
    #[must_use]
    pub fn with_pi(self, file: PathBuf) -> Self {
        Self { pi: Some(Arc::new(file)), ..self }
    }

    /// All there is to see now. Takes as long as the slowest service, three seconds at most.
    async fn view(&self) -> View {
        let demo = async {
            match &self.demo {
                Some(control) => control.state().await,
                None => None,
            }
        };
        let (gathered, demo) = future::zip(self.gather.look(), demo).await;
        let view = View::new(&self.id, &self.directory, &self.trust, &gathered, Instant::now());
        let problems = self.pi.as_ref().map(|file| pi::read(file).map_or(1, |told| told.problems()));
        View { pi_problems: problems, demo, ..view }
    }
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

/// The page on `/`, the same as JSON on `/api/services`, and its changes on `/events`; on a Pi its own page on `/pi` and
/// `/api/pi`.
pub fn app(state: State) -> tide::Server<State> {
    let mut app = tide::with_state(state);
    page::SITE.furnish(&mut app);
    app.at(page::LIVE.path).get(|request: Request<State>| async move { Ok(page::LIVE.answer(&request)) });
    if app.state().demo.is_some() {
        app.at("/demo/*deed").post(demo::press).all(demo::is_a_button);
    }
    pi::furnish(&mut app);
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
    let ends = state.health.drains();
    let refused = |code, message| json!({"error": {"code": code, "message": message}});
    if state.health.is_draining() {
        return Ok(json(StatusCode::ServiceUnavailable, &refused("ending", "This service is ending.")));
    }
    let Ok(seat) = state.readers.try_enter() else {
        let mut response = json(StatusCode::ServiceUnavailable, &refused("too_many", "There are enough readers."));
        response.insert_header("retry-after", "5");
        return Ok(response);
    };
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(Feed::new(state.clone(), ends, seat), None));
    response.insert_header("content-type", "text/event-stream;charset=UTF-8");
    response.insert_header("cache-control", "no-store");
    Ok(response)
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(status);
    response.set_body(Body::from_string(value.to_string()));
    response.set_content_type(tide::http::mime::JSON);
    response.insert_header("cache-control", "no-store");
    response
}
