//! A producer with a cluster's key works for its own cluster: whoever else is on the network could use up its calls of
//! the weather API, or find out where somebody lives by what is in its cache.

use tide::{Body, Middleware, Next, Request, Response, StatusCode};

use super::routes::OPEN;
use crate::trust::request::{self, SIGNATURE};
use crate::trust::{ClusterKey, Once};

/// Answers 403 to what is not signed, except on the paths that are open on every service.
pub(super) struct Guard {
    key: ClusterKey,
    /// Addresses that the log has told of.
    turned_away: Once,
}

impl Guard {
    pub(super) fn new(key: ClusterKey) -> Self {
        Self { key, turned_away: Once::default() }
    }
}

#[async_trait::async_trait]
impl<S: Clone + Send + Sync + 'static> Middleware<S> for Guard {
    async fn handle(&self, request: Request<S>, next: Next<'_, S>) -> tide::Result {
        if OPEN.contains(&request.url().path()) {
            return Ok(next.run(request).await);
        }
        // Given twice, nobody can know which was meant.
        let header =
            request.header(SIGNATURE).filter(|values| values.iter().count() == 1).map(|values| values.as_str());
        match request::verify(&self.key, header, request.method(), request.url()) {
            Ok(()) => Ok(next.run(request).await),
            Err(why) => {
                let peer = request.peer_addr().and_then(|peer| peer.parse::<std::net::SocketAddr>().ok());
                let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
                if self.turned_away.is_first(&peer) {
                    log::warn!("a request of {peer} is refused: {why}");
                }
                Ok(forbidden(&why.to_string()))
            }
        }
    }
}

fn forbidden(why: &str) -> Response {
    let message =
        format!("This service answers its own cluster only. The request is refused: {why}. See node.cluster_key_file.");
    let mut response = Response::new(StatusCode::Forbidden);
    let body = serde_json::json!({"error": {"code": "forbidden", "message": message}});
    response.set_body(Body::from_string(body.to_string()));
    response.set_content_type(tide::http::mime::JSON);
    response.insert_header("cache-control", "no-store");
    response
}
