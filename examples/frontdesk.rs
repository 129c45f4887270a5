//! A service that calls another one: `cargo run --example frontdesk -- --listen 127.0.0.1:8080`, and then
//! `curl http://127.0.0.1:8080/greet/Ada`. Its own setting is `patience` in `[service.frontdesk]`.

mod greeting;

use std::process::ExitCode;
use std::time::Duration;

use bramble::config::{Fields, Section};
use bramble::{Client, Service};
use greeting::{GREET, Greet, Greeting};

#[derive(Clone)]
struct Desk(Duration);

impl Default for Desk {
    fn default() -> Self {
        Self(Duration::from_secs(2))
    }
}

impl Section for Desk {
    const NAME: &'static str = "frontdesk";

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.time("patience", &mut self.0, Duration::from_millis(1)..=Duration::from_secs(60));
    }
}

fn main() -> ExitCode {
    let frontdesk = Service::named("frontdesk").calls(&["greeter"]).page("Front desk").open_to_all();
    frontdesk.section::<Desk>().run(|host| async move {
        let mut app = tide::with_state((host.client(), host.settings::<Desk>()?.clone()));
        app.at("/greet/:name").get(|request: tide::Request<(Client, Desk)>| async move {
            let (client, Desk(patience)) = request.state();
            let greet = Greet { name: request.param("name")?.to_owned() };
            let call = client.call(&GREET, &greet).under(&request).within(*patience);
            Ok(call.or(|error| Greeting { text: format!("No greeting today ({error})") }).await.text)
        });
        Ok(app)
    })
}
