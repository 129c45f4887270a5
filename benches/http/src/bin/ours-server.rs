//! A producer's wire without its work: tide over the server of `bramble::internals::transport`, one thread.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bench_http::{ANSWER, LISTENING};
use bramble::Config;
use bramble::internals::transport::server::{self, Limits, Options};
use smol::Executor;
use tide::{Body, Request, Response};

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let mut app = tide::new();
    app.at("/weather").get(|_: Request<()>| async {
        let mut body = Body::from_string(ANSWER.to_owned());
        body.set_mime(tide::http::mime::JSON);
        Ok(Response::builder(200).body(body).build())
    });
    let executor = Arc::new(Executor::new());
    let limits = Limits { max_connections: 4096, ..Limits::from(&Config::default().server) };
    let options =
        Options { id: Some("producer-5f0c2a9be81d4477".into()), ..Options::new(limits, Arc::clone(&executor)) };
    let serve = async move {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into())?;
        println!("{LISTENING}{}", listener.get_ref().local_addr()?);
        server::serve(listener, app, options, std::future::pending()).await;
        Ok::<_, Failed>(())
    };
    bramble::serve::block_on(1, &executor, executor.spawn(serve))
}
