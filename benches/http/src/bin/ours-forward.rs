//! The form's way to a producer without the form: tide asks by Bramble's client, with discovery (a fixed list),
//! balancing, breakers and deadlines, for each answer. One thread.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bench_http::LISTENING;
use bramble::Config;
use bramble::client::Client;
use bramble::discovery::{Directory, ServiceFilter, fixed};
use bramble::internals::transport::server::{self, Limits, Options};
use smol::Executor;
use tide::http::{mime, url::Position};
use tide::{Body, Request, Response, StatusCode};

type Failed = Box<dyn Error + Send + Sync>;

const SERVICE: &str = "producer";

#[derive(Clone)]
struct Forward {
    client: Client,
}

impl Forward {
    async fn answer(&self, path: &str) -> tide::Result {
        match self.client.get(SERVICE, path).send().await {
            Ok(answer) if answer.status == 200 => {
                let mut body = Body::from_bytes(answer.body);
                body.set_mime(mime::JSON);
                Ok(Response::builder(200).body(body).build())
            }
            _ => Ok(Response::new(StatusCode::BadGateway)),
        }
    }
}

fn main() -> Result<(), Failed> {
    let backend: SocketAddr = std::env::args().nth(1).ok_or("usage: ours-forward ADDRESS:PORT")?.parse()?;
    let executor = Arc::new(Executor::new());
    let directory = Directory::new(ServiceFilter::None, Instant::now());
    fixed::fill(&directory, &BTreeMap::from([(SERVICE.to_owned(), vec![backend])]), Instant::now());
    let config = Config::default();
    let limits = Limits { max_connections: 4096, ..Limits::from(&config.server) };
    let client = Client::new(config, directory);
    let mut app = tide::with_state(Forward { client });
    app.at("/weather").get(|request: Request<Forward>| async move {
        request.state().answer(&request.url()[Position::BeforePath..]).await
    });
    let options = Options::new(limits, Arc::clone(&executor));
    let serve = async move {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into())?;
        println!("{LISTENING}{}", listener.get_ref().local_addr()?);
        server::serve(listener, app, options, std::future::pending()).await;
        Ok::<_, Failed>(())
    };
    bramble::serve::block_on(1, &executor, executor.spawn(serve))
}
