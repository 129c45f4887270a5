//! Refuses requests that are not signed with the cluster's key: other hosts on the network could use up what a service
//! pays for, or learn by the speed of an answer what others have asked.

use tide::{Body, Middleware, Next, Request, Response, StatusCode};

use super::routes::OPEN;
use crate::trust::request::{self, SIGNATURE, STREAMED, Unsigned};
use crate::trust::{ClusterKey, RepeatFilter};

/// Answers 403 to what is not signed, except on the paths that are open on every service.
pub(super) struct Guard {
    key: ClusterKey,
    /// Addresses that the log has told of.
    turned_away: RepeatFilter,
}

impl Guard {
    pub(super) fn new(key: ClusterKey) -> Self {
        Self { key, turned_away: RepeatFilter::default() }
    }
}

#[async_trait::async_trait]
impl<S: Clone + Send + Sync + 'static> Middleware<S> for Guard {
    async fn handle(&self, mut request: Request<S>, next: Next<'_, S>) -> tide::Result {
        if OPEN.contains(&request.url().path()) {
            return Ok(next.run(request).await);
        }
        // Given twice, it is unknown which was meant.
        let header =
            request.header(SIGNATURE).filter(|values| values.iter().count() == 1).map(|values| values.as_str());
        let signed = request::verify(&self.key, header, request.method(), request.url()).map(str::to_owned);
        let checked = match signed {
            Ok(signed) => check_body(&mut request, &signed).await?,
            Err(why) => Err(why),
        };
        match checked {
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

/// Compares the body of `request` with the digest that was signed; reads it for that, within the server's limits,
/// unless it has none or is signed as a stream.
async fn check_body<S>(request: &mut Request<S>, signed: &str) -> tide::Result<Result<(), Unsigned>> {
    if signed == STREAMED {
        return Ok(Ok(()));
    }
    let mut digest = String::new();
    if request.is_empty() != Some(true) {
        let body = request.body_bytes().await?;
        digest = request::body_digest(&body);
        request.set_body(body);
    }
    Ok(if digest == signed { Ok(()) } else { Err(Unsigned::OtherBody) })
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

#[cfg(test)]
mod tests {
    use http_types::{Method, Url};

    use super::*;

    const OLD: &str = "spring:a secret of the cluster";
    const BOTH: &str = "autumn:its next secret, all new\nspring:a secret of the cluster";

    fn ask(app: &tide::Server<()>, path: &str, signed_with: &[&str]) -> Response {
        let url = Url::parse("http://192.0.2.7:4711/").and_then(|url| url.join(path)).expect("a URL");
        let mut request = http_types::Request::new(Method::Get, url.clone());
        for key in signed_with {
            request.append_header(SIGNATURE, request::sign(&ClusterKey::of(key), Method::Get, &url, ""));
        }
        smol::block_on(app.respond(request)).expect("an answer")
    }

    #[test]
    fn only_requests_signed_with_a_key_of_the_cluster_are_answered() {
        let mut app = tide::new();
        app.with(Guard::new(ClusterKey::of(BOTH)));
        app.at("/weather").get(|_| async { Ok("fine") });
        app.at("/healthz").get(|_| async { Ok("fine") });
        let status = |path: &str, keys: &[&str]| u16::from(ask(&app, path, keys).status());
        assert_eq!(status("/weather?zip=1", &[OLD]), 200);
        assert_eq!(status("/weather?zip=1", &[BOTH]), 200);
        assert_eq!(status("/weather?zip=1", &["spring:a secret of another cluster"]), 403);
        assert_eq!(status("/weather?zip=1", &[]), 403);
        assert_eq!(status("/weather?zip=1", &[OLD, OLD]), 403, "which one was meant?");
        assert_eq!(status("/healthz", &[]), 200);
        for round_about in ["/healthz/../weather", "/weather/", "/healthz/"] {
            assert_eq!(status(round_about, &[]), 403, "{round_about}");
        }
    }

    #[test]
    fn a_signature_sent_again_with_another_body_is_refused() {
        let mut app = tide::new();
        app.with(Guard::new(ClusterKey::of(OLD)));
        app.at("/greeting").post(|mut request: Request<()>| async move { request.body_string().await });
        let url = Url::parse("http://192.0.2.7:4711/greeting").expect("a URL");
        let post = |signed: &str, body: &str| {
            let mut request = http_types::Request::new(Method::Post, url.clone());
            request.set_body(body);
            request.insert_header(SIGNATURE, request::sign(&ClusterKey::of(OLD), Method::Post, &url, signed));
            let mut response: Response = smol::block_on(app.respond(request)).expect("an answer");
            (u16::from(response.status()), smol::block_on(response.take_body().into_string()).expect("text"))
        };
        let digest = request::body_digest(b"Hello, Ada!");
        assert_eq!(post(&digest, "Hello, Ada!"), (200, "Hello, Ada!".to_owned()), "the handler reads it as well");
        assert_eq!(post("", ""), (200, String::new()));
        assert_eq!(post(STREAMED, "any"), (200, "any".to_owned()));
        for (signed, body) in [(&*digest, "Hello, Eve!"), (&digest, ""), ("", "Hello, Eve!")] {
            let (status, text) = post(signed, body);
            assert!(status == 403 && text.contains("its signature is of another body"), "{signed}, {body}: {text}");
        }
    }

    #[test]
    fn a_refusal_is_the_json_of_the_contract() {
        let mut app = tide::new();
        app.with(Guard::new(ClusterKey::of(OLD)));
        let mut response = ask(&app, "/weather", &[]);
        let body = smol::block_on(response.take_body().into_string()).expect("text");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["error"]["code"], "forbidden");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("node.cluster_key_file")), "{body}");
    }
}
