//! A service: `cargo run --example greeter`, on as many machines of a LAN as you like.

mod greeting;

use std::process::ExitCode;

use bramble::Service;
use greeting::{GREET, Greeting};

fn main() -> ExitCode {
    Service::named("greeter").run(|host| async move {
        let greeted = host.counter("greeter_greetings", "Greetings given.");
        let mut app = tide::new();
        GREET.route(&mut app, move |_request, greet| {
            greeted.add(1);
            async move { Ok(Greeting { text: format!("Hello, {}!", greet.name) }) }
        });
        Ok(app)
    })
}
