//! The settings of all services of this program: one file has the sections of all of them.

use bramble::Config;
use bramble_consumer::ConsumerSettings;
use bramble_pi::Pi;
use bramble_producer::ProducerSettings;
use bramble_registry::RegistrySettings;

/// Every setting there is, with its default value.
pub(crate) fn all() -> Config {
    Config::default()
        .with(ProducerSettings::default())
        .with(ConsumerSettings::default())
        .with(RegistrySettings::default())
        .with(Pi::default())
}

#[cfg(test)]
mod tests;
