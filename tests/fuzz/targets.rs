//! What must hold for any input. Each function panics when it does not; libFuzzer and `tests/fuzz_corpus.rs` call the
//! same ones. A target has a folder of inputs in `corpus/` and, for libFuzzer, a program in `fuzz_targets/`.

use bramble::Config;
use bramble::config::{ConfigFile, Origin, Role, Sources};

/// Takes any input, and returns if all is well.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub(crate) const ALL: &[(&str, Target)] = &[("config", config)];

/// A configuration is read, and is the same after it was shown; or each mistake has a line that exists.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = text.lines().count() + 1;
    let variable = ("BRAMBLE__DISCOVERY__FIXED".to_owned(), text.clone());
    match Config::load(Role::Consumer, &Sources::text(text)) {
        Ok(config) => {
            let shown = config.to_toml();
            assert_eq!(Config::load(Role::Consumer, &Sources::text(shown)), Ok(config));
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                match mistake.origin {
                    Origin::Line { line, column, .. } => {
                        assert!((1..=lines).contains(&line) && column > 0, "{mistake}");
                    }
                    _ => panic!("{mistake} has no place"),
                }
            }
        }
    }
    // A variable takes another way: any text is a value.
    let sources = Sources { file: ConfigFile::None, env: vec![variable], flags: Vec::new() };
    let _ = Config::load(Role::Consumer, &sources);
}
