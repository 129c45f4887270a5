//! Typed operations between a service and its callers, over real sockets.

#[path = "support/patience.rs"]
mod patience;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bramble::client::{Client, Error};
use bramble::config::Config;
use bramble::discovery::{Directory, ServiceFilter, fixed};
use bramble::internals::transport::server::{self, Options};
use bramble::operation::{CallError, Operation, Rejection};
use bramble::telemetry::Collect as _;
use futures_lite::{FutureExt as _, future};
use http_types::Method;
use patience::patience;
use serde::{Deserialize, Serialize};
use smol::{Executor, Timer};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Greet {
    name: String,
    #[serde(default)]
    loud: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Greeting {
    text: String,
}

const GREET: Operation<Greet, Greeting> = Operation::post("greeter", "/greeting").idempotent();
const ASK: Operation<Greet, Greeting> = Operation::get("greeter", "/ask");
const FORGET: Operation<BTreeMap<String, String>, ()> = Operation::delete("greeter", "/names");
/// The same path as another service understands it.
const COUNT: Operation<Greet, u32> = Operation::post("greeter", "/greeting").idempotent();
/// A path that it does not have.
const NOWHERE: Operation<Greet, Greeting> = Operation::get("greeter", "/nowhere");
/// Another method of a path.
const LEARN: Operation<Greet, ()> = Operation::post("greeter", "/names");
const LISTS: Operation<[u8; 3], Greeting> = Operation::post("greeter", "/greeting");

/// Longer than anything here takes on a busy machine; reached only when something is broken.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(20));

async fn greet(_: tide::Request<()>, greet: Greet) -> Result<Greeting, Rejection> {
    match (greet.name.as_str(), greet.loud) {
        ("", _) => Err(Rejection::new(422, "invalid_name", "A name has one character at least.")),
        ("Eve", _) => {
            Err(Rejection::new(409, "asleep", "Eve is asleep.").with_retry_after(Duration::from_millis(1500)))
        }
        ("Bob", _) => Err(Rejection::new(500, "broken", "Bob cannot be greeted.")),
        (name, true) => Ok(Greeting { text: format!("HELLO, {name}!") }),
        (name, false) => Ok(Greeting { text: format!("Hello, {name}!") }),
    }
}

/// A greeter that serves as long as the executor runs, and how often it was asked.
fn greeter(executor: &Arc<Executor<'static>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let mut app = tide::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    GREET.route(&mut app, move |request, input| {
        count.fetch_add(1, Ordering::Relaxed);
        greet(request, input)
    });
    ASK.route(&mut app, greet);
    LEARN.route(&mut app, |_, _| future::ready(Ok(())));
    FORGET.route(&mut app, |_, names| {
        future::ready(match names.is_empty() {
            true => Err(Rejection::new(400, "no_name", "There is no name.")),
            false => Ok(()),
        })
    });
    (serve(executor, app), asked)
}

/// Serves `app` as long as the executor runs.
fn serve(executor: &Arc<Executor<'static>>, app: tide::Server<()>) -> SocketAddr {
    let listener = server::listen(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = listener.get_ref().local_addr().expect("bound");
    let limits = (&Config::default().server).into();
    let options = Options { id: Some("greeter-1".into()), ..Options::new(limits, Arc::clone(executor)) };
    executor.spawn(server::serve(listener, app, options, future::pending())).detach();
    addr
}

fn client(addrs: Vec<SocketAddr>) -> Client {
    let directory = Directory::new(ServiceFilter::None, Instant::now() - Duration::from_secs(60));
    fixed::fill(&directory, &BTreeMap::from([("greeter".to_owned(), addrs)]), Instant::now());
    Client::new(Config::default(), directory)
}

fn run<F: Future>(test: impl FnOnce(Arc<Executor<'static>>) -> F) -> F::Output {
    let executor = Arc::new(Executor::new());
    let late = async {
        Timer::after(*PATIENCE).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(test(Arc::clone(&executor)).or(late)))
}

fn ada() -> Greet {
    Greet { name: "Ada & Bob".to_owned(), loud: true }
}

fn named(name: &str) -> Greet {
    Greet { name: name.to_owned(), loud: false }
}

fn hello(text: &str) -> Greeting {
    Greeting { text: text.to_owned() }
}

#[test]
fn input_and_output_are_the_same_on_both_sides_whatever_the_method() {
    run(|executor| async move {
        let client = client(vec![greeter(&executor).0]);
        assert_eq!(client.call(&GREET, &ada()).send().await.expect("a greeting"), hello("HELLO, Ada & Bob!"));
        assert_eq!(client.call(&ASK, &ada()).send().await.expect("a greeting"), hello("HELLO, Ada & Bob!"));
        client.call(&FORGET, &BTreeMap::from([("name".into(), "Ada".into())])).send().await.expect("done");
    });
}

#[test]
fn a_rejection_arrives_with_its_status_code_and_sentence_and_the_name_of_the_instance() {
    run(|executor| async move {
        let client = client(vec![greeter(&executor).0]);
        for operation in [&GREET, &ASK] {
            let error = client.call(operation, &named("")).send().await.expect_err("no name");
            let CallError::Rejected { instance, rejection } = &error else { panic!("{error:?}") };
            assert_eq!(*rejection, Rejection::new(422, "invalid_name", "A name has one character at least."));
            assert!(error.to_string().starts_with(&**instance), "{error}");
        }
    });
}

#[test]
fn a_rejection_says_when_asking_again_is_worth_it_and_matches_by_its_code() {
    run(|executor| async move {
        let client = client(vec![greeter(&executor).0]);
        let error = client.call(&GREET, &named("Eve")).send().await.expect_err("rejected");
        let wait = error.retry_after(Instant::now());
        match error.rejection().map(|rejection| (rejection.status, &*rejection.code)) {
            Some((409, "asleep")) => assert_eq!(wait, Some(Duration::from_millis(1500)), "exact, not in whole seconds"),
            other => panic!("{other:?}: {error:?}"),
        }
        assert_eq!(error.message(), "Eve is asleep.", "what a person reads names no instance");
        let unanswered =
            self::client(vec![]).call(&GREET, &named("Eve")).send().await.expect_err("no greeter is there");
        assert_eq!((unanswered.rejection(), unanswered.retry_after(Instant::now())), (None, None));
        assert_eq!(unanswered.message(), "No greeter is available.");
        assert!(unanswered.to_string().starts_with("no greeter is available: "), "{unanswered}");
    });
}

#[test]
fn a_reply_says_which_process_gave_it_though_only_its_address_is_known() {
    run(|executor| async move {
        let addr = greeter(&executor).0;
        let client = client(vec![addr]);
        let reply = client.call(&GREET, &named("Ada")).reply().await.expect("a greeting");
        assert_eq!((reply.output, reply.answer.status), (hello("Hello, Ada!"), 200));
        assert_eq!((reply.answer.served_by(), &*reply.answer.from), ("greeter-1", &*addr.to_string()));
        assert_eq!(reply.answer.header("content-type"), Some("application/json"));
    });
}

#[test]
fn an_error_that_is_none_of_the_operation_is_of_another_server_and_another_is_asked() {
    const STRICT: Operation<Greet, Greeting> =
        Operation::post("greeter", "/greeting").idempotent().codes(&["invalid_name", "asleep"]);
    run(|executor| async move {
        let mut stranger = tide::new();
        let mut other = tide::new();
        for (app, body) in [
            (&mut stranger, r#"{"error":{"code":"not_found","message":"There is nothing here."}}"#),
            (&mut other, "404 page not found"),
        ] {
            app.at("/greeting").post(move |_| async move { Ok(tide::Response::builder(404).body(body).build()) });
        }
        let client = client(vec![serve(&executor, stranger), serve(&executor, other), greeter(&executor).0]);
        for _ in 0..20 {
            assert_eq!(client.call(&STRICT, &named("Ada")).send().await.expect("a greeting"), hello("Hello, Ada!"));
            let error = client.call(&STRICT, &named("")).send().await.expect_err("no name");
            assert_eq!(error.rejection().map(|rejection| &*rejection.code), Some("invalid_name"));
        }
    });
}

#[test]
fn another_method_of_the_path_is_refused_with_the_methods_that_it_has() {
    run(|executor| async move {
        let addr = greeter(&executor).0;
        let client = client(vec![addr]);
        let allowed = async |method, path| {
            let answer = client.request(method, "greeter", path).send().await.expect("an answer");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let code = answer.rejection().expect("an error").code;
            (answer.status, code.into_owned(), answer.header("allow").map(str::to_owned))
        };
        let refused = |methods: &str| (405, "method_not_allowed".to_owned(), Some(methods.to_owned()));
        assert_eq!(allowed(Method::Get, "/greeting").await, refused("POST"));
        assert_eq!(allowed(Method::Put, "/ask").await, refused("GET, HEAD"));
        assert_eq!(allowed(Method::Put, "/names").await, refused("DELETE, POST"));
        let head = client.request(Method::Head, "greeter", "/ask?name=Ada").send().await.expect("an answer");
        assert_eq!((head.status, &*head.body), (200, &b""[..]));
    });
}

#[test]
fn input_that_is_not_understood_is_rejected_and_not_the_end_of_the_service() {
    run(|executor| async move {
        let (addr, asked) = greeter(&executor);
        let client = client(vec![addr]);
        let error = client.call(&LISTS, &[1, 2, 3]).send().await.expect_err("a list is no name");
        let CallError::Rejected { rejection, .. } = &error else { panic!("{error:?}") };
        assert_eq!((rejection.status, &*rejection.code), (400, "invalid_input"));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "the handler has not seen it");
        assert_eq!(client.call(&GREET, &named("Ada")).send().await.expect("a greeting"), hello("Hello, Ada!"));
    });
}

#[test]
fn an_output_of_another_type_is_an_error_that_says_so_and_opens_no_circuit() {
    run(|executor| async move {
        let (one, other) = (greeter(&executor), greeter(&executor));
        let client = client(vec![one.0, other.0]);
        for (asked, call) in [(1, client.call(&COUNT, &ada())), (2, client.call(&COUNT, &ada()))] {
            let error = call.send().await.expect_err("a greeting is no number");
            assert!(matches!(error, CallError::Unanswered(Error::Unreadable { status: 200, .. })), "{error:?}");
            assert!(error.to_string().contains("invalid type: map, expected u32"), "{error}");
            assert_eq!(one.1.load(Ordering::Relaxed) + other.1.load(Ordering::Relaxed), asked, "one of them is asked");
        }
        let error = client.call(&NOWHERE, &ada()).send().await.expect_err("there is no such path");
        assert!(matches!(error, CallError::Unanswered(Error::Unreadable { status: 404, .. })), "{error:?}");
        let circuits = client.circuits();
        let all = circuits[0]["endpoints"].as_array().expect("a list");
        assert!(all.iter().all(|one| one["state"] == "closed"), "{circuits:?}");
    });
}

#[test]
fn an_output_that_is_not_accepted_is_asked_for_elsewhere() {
    run(|executor| async move {
        let (one, other) = (greeter(&executor), greeter(&executor));
        let asked = || one.1.load(Ordering::Relaxed) + other.1.load(Ordering::Relaxed);
        let client = client(vec![one.0, other.0]);
        let is_polite = |greeting: &Greeting| !greeting.text.starts_with("HELLO");
        client.call(&GREET, &named("Ada")).valid_if(&is_polite).send().await.expect("it is polite");
        let error = client.call(&GREET, &ada()).valid_if(&is_polite).send().await.expect_err("it is loud");
        assert!(matches!(error, CallError::Unanswered(Error::WrongPeer { .. })), "{error:?}");
        assert_eq!(asked(), 3);
    });
}

#[test]
fn a_service_that_answers_its_own_cluster_only_has_not_rejected_the_input() {
    run(|executor| async move {
        let mut app = tide::new();
        GREET.route(&mut app, |_, greet: Greet| {
            let code = if greet.name == "Ada" { "forbidden" } else { "not_for_you" };
            future::ready(Err(Rejection::new(403, code, "No.")))
        });
        let client = client(vec![serve(&executor, app)]);
        let error = client.call(&GREET, &named("Bob")).send().await.expect_err("refused");
        assert!(matches!(error, CallError::Rejected { .. }), "a 403 of the service itself: {error:?}");
        let error = client.call(&GREET, &named("Ada")).send().await.expect_err("refused");
        assert!(matches!(error, CallError::Unanswered(Error::Forbidden { .. })), "{error:?}");
    });
}

#[test]
fn a_fallback_takes_the_place_of_the_output_and_is_counted_as_one() {
    run(|executor| async move {
        let unanswered = client(vec![]);
        let fallback = unanswered.call(&GREET, &ada()).or(|error| hello(&error.to_string())).await;
        assert!(fallback.text.contains("greeter"), "{fallback:?}");
        let good = client(vec![greeter(&executor).0]);
        assert_eq!(good.call(&GREET, &named("Ada")).or(|_| hello("nothing")).await, hello("Hello, Ada!"));
        let kept = good.call(&GREET, &named("Bob")).or_else(|_| future::ready(Ok(hello("Bye!")))).await;
        assert_eq!(kept.expect("the fallback"), hello("Bye!"));
        let failed = good.call(&GREET, &named("Bob")).or_else(|error| future::ready(Err(error))).await;
        assert!(matches!(failed, Err(CallError::Rejected { .. })), "{failed:?}");
        let count = |client: &Client, event: &str| {
            let commands = client.commands(Instant::now());
            let command = commands.iter().find(|command| &*command.name == "greeter").expect("it was called");
            let text = String::from_utf8(command.event(SystemTime::now())).expect("text");
            let json = text.trim().strip_prefix("data: ").expect("an event");
            serde_json::from_str::<serde_json::Value>(json).expect("JSON")[event].clone()
        };
        assert_eq!(count(&unanswered, "rollingCountFallbackSuccess"), 1);
        assert_eq!(count(&good, "rollingCountFallbackSuccess"), 1);
        assert_eq!(count(&good, "rollingCountFallbackFailure"), 1);
    });
}

#[test]
fn fallbacks_beyond_the_bound_are_refused() {
    run(|_| async move {
        let mut config = Config::default();
        config.call.max_concurrent = 1;
        let directory = Directory::new(ServiceFilter::None, Instant::now() - Duration::from_secs(60));
        let client = Client::new(config, directory);
        let mut endless = Box::pin(client.call(&GREET, &named("Ada")).or_else(|_| future::pending()));
        assert!(future::poll_once(&mut endless).await.is_none());
        let refused = client.call(&GREET, &named("Ada")).or_else(|_| future::ready(Ok(hello("instead")))).await;
        assert!(matches!(refused, Err(CallError::Unanswered(Error::NoInstance { .. }))), "{refused:?}");
        drop(endless);
        let free = client.call(&GREET, &named("Ada")).or_else(|_| future::ready(Ok(hello("instead")))).await;
        assert_eq!(free.expect("there is room"), hello("instead"));
    });
}

#[test]
fn with_one_of_two_instances_gone_every_idempotent_call_is_answered() {
    run(|executor| async move {
        let gone = std::net::TcpListener::bind("127.0.0.95:0").and_then(|there| there.local_addr()).expect("bound");
        let client = client(vec![gone, greeter(&executor).0]);
        for _ in 0..20 {
            assert_eq!(client.call(&GREET, &named("Ada")).send().await.expect("answered"), hello("Hello, Ada!"));
        }
    });
}
