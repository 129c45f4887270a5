//! The page that shows every service on the LAN. It keeps no state that others need: without it they find each other
//! just as well, and a second one shows the same.

mod page;

use std::sync::Arc;
use std::time::Instant;

use bramble::discovery::Directory;
use bramble::serve::{Error, Host};
use serde_json::json;
use tide::{Body, Request, Response, StatusCode};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct State {
    id: Arc<str>,
    directory: Directory,
}

/// Serves the page until the process is told to end.
///
/// # Errors
/// When it cannot listen.
pub async fn run(host: Host) -> Result<(), Error> {
    let app = app(Arc::clone(&host.id), host.directory.clone());
    host.serve(app, Vec::new()).await
}

/// The page on `/`, and the same as JSON on `/api/services`.
pub fn app(id: Arc<str>, directory: Directory) -> tide::Server<State> {
    let mut app = tide::with_state(State { id, directory });
    page::SITE.furnish(&mut app);
    app.at("/").get(services);
    app.at("/api/services").get(services_as_json);
    app
}

async fn services(request: Request<State>) -> tide::Result {
    let State { id, directory } = request.state();
    let all = directory.all(Instant::now());
    Ok(bramble_look::answer(StatusCode::Ok, page::services(id, &all)))
}

async fn services_as_json(request: Request<State>) -> tide::Result {
    let State { id, directory } = request.state();
    let body = json!({"seen_by": id, "instances": directory.all(Instant::now())});
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_string(body.to_string()));
    response.set_content_type(tide::http::mime::JSON);
    response.insert_header("cache-control", "no-store");
    Ok(response)
}
