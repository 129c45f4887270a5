//! The page of the Pi on `/pi`, and the same as JSON on `/api/pi`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tide::{Request, Response, StatusCode};

use super::read;
use crate::page;
use crate::reply::json;
use crate::state::State;

/// Adds the page and its JSON, if there is a file to read.
pub(crate) fn add(app: &mut tide::Server<State>) {
    let Some(file) = app.state().pi.clone() else { return };
    app.at("/pi").get(shown(Arc::clone(&file)));
    app.at("/api/pi").get(move |_| {
        let answer = as_json(&file);
        async move { Ok(answer) }
    });
}

fn shown(file: Arc<PathBuf>) -> impl tide::Endpoint<State> {
    move |request: Request<State>| {
        let accepts = request.header("accept").map_or("", |values| values.last().as_str());
        let answer = if accepts.starts_with("application/json") {
            as_json(&file)
        } else {
            let report = read(&file);
            let status = if report.is_ok() { StatusCode::Ok } else { StatusCode::ServiceUnavailable };
            bramble_look::answer(status, page::pi::whole(&report, SystemTime::now()))
        };
        async move { Ok(answer) }
    }
}

fn as_json(file: &Path) -> Response {
    match read(file) {
        Ok(report) => json(StatusCode::Ok, &serde_json::json!(report)),
        Err(message) => {
            let error = serde_json::json!({"error": {"code": "unavailable", "message": message}});
            json(StatusCode::ServiceUnavailable, &error)
        }
    }
}
