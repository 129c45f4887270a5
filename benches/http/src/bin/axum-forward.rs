//! The peer of `ours-forward`: axum passes each question on by reqwest, one thread.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use bench_http::LISTENING;
use tokio::net::TcpListener;

struct Forward {
    client: reqwest::Client,
    backend: String,
}

impl Forward {
    async fn answer(&self, path: &str) -> Result<([(HeaderName, &'static str); 1], Bytes), StatusCode> {
        let asked = self.client.get(format!("http://{}{path}", self.backend)).send().await;
        let answer = asked.and_then(reqwest::Response::error_for_status).map_err(|_| StatusCode::BAD_GATEWAY)?;
        let body = answer.bytes().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        Ok(([(CONTENT_TYPE, "application/json")], body))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let backend = std::env::args().nth(1).ok_or("usage: axum-forward ADDRESS:PORT")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(backend))
}

async fn serve(backend: String) -> Result<(), Box<dyn Error>> {
    // The deadline and the pool of Bramble's client, so that both keep a timer a call.
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).pool_max_idle_per_host(16).build()?;
    let forward = Arc::new(Forward { client, backend });
    let answer = |State(forward): State<Arc<Forward>>, OriginalUri(uri): OriginalUri| async move {
        forward.answer(uri.path_and_query().map_or("/", |path| path.as_str())).await
    };
    let app = Router::new().route("/weather", get(answer)).with_state(forward);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{LISTENING}{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}
