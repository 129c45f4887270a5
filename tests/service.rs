//! A service of one's own: its name, its registration, and which requests it answers.

#[path = "support/patience.rs"]
mod patience;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bramble::discovery::{Directory, Instance};
use bramble::serve::{Host, ShutdownSignal};
use bramble::{Config, Service};
use futures_lite::{FutureExt as _, future};
use patience::patience;
use smol::{Executor, Timer};

const GREETER: Service = Service::named("greeter").version("7.1.2");
const DESK: Service = Service::program("desk").calls(&["greeter"]);

/// On loopback alone, with a port of mDNS that no other test uses.
fn config(mdns_port: u16) -> Config {
    let mut config = Config::default();
    config.discovery.interfaces = vec!["lo".into()];
    config.discovery.port = mdns_port;
    config.server.listen = Some(([127, 0, 0, 1], 0).into());
    config
}

fn run<F: Future>(test: impl FnOnce(Arc<Executor<'static>>) -> F) -> F::Output {
    let executor = Arc::new(Executor::new());
    let late = async {
        Timer::after(patience(60)).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(test(Arc::clone(&executor)).or(late)))
}

/// A greeter that serves until the sender is dropped.
fn serve(
    service: Service,
    config: Config,
    executor: &Arc<Executor<'static>>,
) -> (smol::channel::Sender<()>, smol::Task<()>) {
    let host = Host::new(service, config, Arc::clone(executor)).expect("a host");
    let mut app = tide::new();
    app.at("/greeting").get(|_| future::ready(Ok("Hello!")));
    app.at("/echo").post(|mut request: tide::Request<()>| async move { request.body_string().await });
    let (ends, ended) = smol::channel::bounded::<()>(1);
    let shutdown = ShutdownSignal::when(async move {
        let _ = ended.recv().await; // it is closed
    });
    let serving = executor.spawn(async move { host.serve_until(app, shutdown).await.expect("it serves") });
    (ends, serving)
}

async fn found(directory: &Directory) -> Arc<Instance> {
    loop {
        let changed = directory.changed();
        if let Some(instance) = directory.instances("greeter").and_then(|all| all.first().cloned()) {
            return instance;
        }
        changed.await;
    }
}

#[test]
fn a_service_is_found_by_its_own_name_and_version_and_ends_when_it_is_told_to() {
    run(|executor| async move {
        let (ends, serving) = serve(GREETER, config(55_412), &executor);
        let desk = Host::new(DESK, config(55_412), Arc::clone(&executor)).expect("a host");
        let client = desk.client();
        let answer = client.get("greeter", "/greeting").within(patience(20)).send().await.expect("a greeting");
        assert_eq!((answer.status, &*answer.body), (200, &b"Hello!"[..]));
        let instance = found(&desk.directory).await;
        assert!(instance.id.starts_with("greeter-") && answer.from == instance.id, "{instance:?}");
        assert_eq!(&*instance.version, "7.1.2");
        drop(ends);
        serving.await;
        while desk.directory.instances("greeter").is_some_and(|all| !all.is_empty()) {
            Timer::after(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn with_a_cluster_key_a_service_answers_its_cluster_alone_unless_it_is_open_to_all() {
    let key = std::env::temp_dir().join(format!("bramble-service-{}.key", std::process::id()));
    std::fs::write(&key, "spring:a key of this test's cluster alone").expect("a file");
    for (port, service, status) in [(55_413, GREETER, 403), (55_414, GREETER.open_to_all(), 200)] {
        let key = key.clone();
        run(|executor| async move {
            let with_key = |mut config: Config| {
                config.node.cluster_key_file = Some(key.clone());
                config
            };
            let (_ends, _serving) = serve(service, with_key(config(port)), &executor);
            let desk = Host::new(DESK, with_key(config(port)), Arc::clone(&executor)).expect("a host");
            let client = desk.client();
            let answer = client.get("greeter", "/greeting").within(patience(20)).send().await.expect("a greeting");
            assert_eq!(answer.status, 200, "its cluster is answered");
            let streamed = http_types::Body::from_reader(futures_lite::io::Cursor::new("Ada"), None);
            for body in ["Ada".into(), streamed] {
                let post = client.post("greeter", "/echo").body(body).within(patience(20));
                let answer = post.send().await.expect("an echo");
                assert_eq!((answer.status, &*answer.body), (200, &b"Ada"[..]), "its cluster may send a body");
            }
            let addr = found(&desk.directory).await.addr;
            let unsigned = desk.outside().get(format!("http://{addr}/greeting")).send().await.expect("an answer");
            assert_eq!(u16::from(unsigned.status()), status);
            let health = desk.outside().get(format!("http://{addr}/healthz")).send().await.expect("an answer");
            assert_eq!(u16::from(health.status()), 200, "machine paths are open");
        });
    }
    std::fs::remove_file(&key).expect("the test's own file");
}

#[test]
fn a_service_that_is_not_ready_says_why_until_it_is() {
    run(|executor| async move {
        let mut config = config(55_415);
        config.discovery.mdns = false;
        let host = Arc::new(Host::new(GREETER, config, Arc::clone(&executor)).expect("a host"));
        let (cache, sensor) = (host.not_ready("the cache is being filled"), host.not_ready("no sensor is there"));
        let serving = Arc::clone(&host);
        let shutdown = ShutdownSignal::when(future::pending());
        executor.spawn(async move { serving.serve_until(tide::new(), shutdown).await.expect("it serves") }).detach();
        let addr = host.listening().await;
        let ready = async || {
            let mut answer = host.outside().get(format!("http://{addr}/readyz")).send().await.expect("an answer");
            (u16::from(answer.status()), answer.body_string().await.expect("text"))
        };
        let (status, body) = ready().await;
        assert_eq!(status, 503);
        assert!(body.contains(r#""reason":"the cache is being filled; no sensor is there""#), "{body}");
        drop(cache);
        assert!(!ready().await.1.contains("cache"));
        drop(sensor);
        assert_eq!(ready().await.0, 200);
    });
}

#[test]
fn a_route_of_its_own_at_a_path_of_every_service_is_an_error_that_names_the_path() {
    for path in ["/metrics", "/instances"] {
        run(|executor| async move {
            let host = Host::new(GREETER, config(55_416), executor).expect("a host");
            let mut app = tide::new();
            app.at("/files/*").all(|_| future::ready(Ok("a file")));
            app.at(path).get(|_| future::ready(Ok("mine")));
            let shutdown = ShutdownSignal::when(future::pending());
            let error = host.serve_until(app, shutdown).await.expect_err("the path is taken").to_string();
            assert!(error.contains("greeter has a route of its own") && error.contains(path), "{error}");
        });
    }
}

/// Serves a service without mDNS, with `app` as its routes.
async fn serving(service: Service, app: tide::Server<()>, executor: &Arc<Executor<'static>>) -> Arc<Host> {
    let mut config = config(0);
    config.discovery.mdns = false;
    config.discovery.fixed = [("clock".to_owned(), vec![([127, 0, 0, 1], 9).into()])].into();
    let host = Arc::new(Host::new(service, config, Arc::clone(executor)).expect("a host"));
    let serving = Arc::clone(&host);
    let shutdown = ShutdownSignal::when(future::pending());
    executor.spawn(async move { serving.serve_until(app, shutdown).await.expect("it serves") }).detach();
    host
}

#[test]
fn routes_for_all_paths_are_served_beside_those_of_every_service() {
    run(|executor| async move {
        let mut app = tide::new();
        app.at("/").get(|_| future::ready(Ok("first page")));
        app.at("/:name").get(|_| future::ready(Ok("by name")));
        app.at("/files/*").get(|_| future::ready(Ok("a file")));
        let host = serving(GREETER, app, &executor).await;
        let addr = host.listening().await;
        for (path, expected) in [("/Ada", "by name"), ("/files/a/b", "a file"), ("/healthz", r#""status":"alive""#)] {
            let mut answer = host.outside().get(format!("http://{addr}{path}")).send().await.expect("an answer");
            let body = answer.body_string().await.expect("text");
            assert!(body.contains(expected), "{path}: {body}");
        }
    });
}

#[test]
fn a_method_that_a_path_does_not_have_is_refused_in_json() {
    run(|executor| async move {
        let mut app = tide::new();
        app.at("/greeting").get(|_| future::ready(Ok("Hello!")));
        app.at("/echo").post(|mut request: tide::Request<()>| async move { request.body_string().await });
        let host = serving(GREETER, app, &executor).await;
        let addr = host.listening().await;
        for (path, allow) in [("/greeting", None), ("/metrics", Some("GET, HEAD")), ("/healthz", Some("GET, HEAD"))] {
            let mut answer = host.outside().post(format!("http://{addr}{path}")).send().await.expect("an answer");
            assert_eq!(u16::from(answer.status()), 405, "{path}");
            assert_eq!(answer.header("allow").map(|values| values.as_str()), allow, "{path}");
            let body = answer.body_string().await.expect("text");
            assert!(body.starts_with(r#"{"error":{"code":"method_not_allowed","message":""#), "{path}: {body}");
        }
    });
}

#[test]
fn what_a_service_calls_is_shown_with_its_instances_before_the_first_call() {
    run(|executor| async move {
        let host = serving(GREETER.calls(&["clock", "sundial"]), tide::new(), &executor).await;
        let addr = host.listening().await;
        let mut answer = host.outside().get(format!("http://{addr}/circuits")).send().await.expect("an answer");
        let body: serde_json::Value = answer.body_json().await.expect("JSON");
        let clock = &body["services"][0];
        assert_eq!(
            (&clock["service"], &clock["endpoints"][0]["addr"]),
            (&"clock".into(), &"127.0.0.1:9".into()),
            "{body}"
        );
        assert_eq!(clock["total"]["success"], 0);
        let page = host.outside().get(format!("http://{addr}/metrics")).recv_string().await.expect("a page");
        let rows = page.lines().filter(|line| line.starts_with("bramble_instances{")).collect::<Vec<_>>();
        assert!(rows.contains(&r#"bramble_instances{service="sundial",source="none"} 0"#), "{rows:?}");
        assert!(!rows.iter().any(|row| row.contains(r#"service="clock",source="none""#)), "{rows:?}");
    });
}
