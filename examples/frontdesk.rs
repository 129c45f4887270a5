//! A service that calls another one: `cargo run --example frontdesk -- --listen 127.0.0.1:8080`, and then
//! `curl http://127.0.0.1:8080/greet/Ada`.

mod greeting;

use std::process::ExitCode;
use std::time::Duration;

use bramble::{Client, Service};
use greeting::{GREET, Greet, Greeting};

fn main() -> ExitCode {
    let frontdesk = Service::named("frontdesk").calls(&["greeter"]).page("Front desk").open_to_all();
    frontdesk.run(|host| async move {
        let mut app = tide::with_state(host.client()?);
        app.at("/greet/:name").get(|request: tide::Request<Client>| async move {
            let greet = Greet { name: request.param("name")?.to_owned() };
            let call = request.state().call(&GREET, &greet).under(&request).within(Duration::from_secs(2));
            let greeting = call.or(|error| Greeting { text: format!("No greeting today: {error}.") }).await;
            Ok(greeting.text)
        });
        Ok(app)
    })
}
