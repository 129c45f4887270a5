//! Contract of the greeter, shared with its callers.

#![allow(unreachable_pub, missing_docs)] // a crate of its own, where there is more than an example

use bramble::Operation;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Greet {
    pub name: String,
}

#[derive(Serialize, Deserialize)]
pub struct Greeting {
    pub text: String,
}

pub const GREET: Operation<Greet, Greeting> = Operation::post("greeter", "/greeting").idempotent();
