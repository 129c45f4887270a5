//! The section `[producer]`.

use std::path::PathBuf;
use std::time::Duration;

use bramble::config::{Fields, Section};

use crate::upstream::address::BaseUrl;

/// `[producer]`: the weather API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// The weather API.
    pub upstream: BaseUrl,
    /// File whose first line is the key of the weather API.
    pub api_key_file: Option<PathBuf>,
    /// File with the only certificate authorities to trust for the weather API. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Language of the description, as the weather API names it: `en`, `de`, `zh_cn`.
    pub language: String,
    /// For one call to the weather API, 1 ms to 30 days. The call goes on when its caller has given up: the next one
    /// finds the answer in the cache.
    pub fetch_timeout: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            upstream: "https://api.openweathermap.org".parse().expect("https is always allowed"),
            api_key_file: None,
            ca_file: None,
            language: "en".into(),
            fetch_timeout: Duration::from_secs(5),
        }
    }
}

impl Section for ProducerSettings {
    const NAME: &'static str = "producer";
    const IS_TOP_LEVEL: bool = true;
    const CREDENTIALS: &'static [(&'static str, &'static str)] = &[("api.key", "api_key_file")];

    fn fields(&mut self, fields: &mut Fields<'_>) {
        let a_month = Duration::from_secs(30 * 24 * 3600);
        fields.value("upstream", &mut self.upstream, str::parse);
        fields.file("api_key_file", &mut self.api_key_file);
        fields.file("ca_file", &mut self.ca_file);
        fields.text("language", &mut self.language, is_language);
        fields.time("fetch_timeout", &mut self.fetch_timeout, Duration::from_millis(1)..=a_month);
    }
}

fn is_language(code: &str) -> Result<(), &'static str> {
    let (first, rest) = code.split_once('_').unwrap_or((code, "xx"));
    if [first, rest].iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic())) {
        return Ok(());
    }
    Err(r#"is not a language; write for example "en", "de" or "zh_cn""#)
}

#[cfg(test)]
mod tests {
    use bramble::Config;
    use bramble::config::Sources;

    use super::*;

    fn settings(keys: &str) -> Result<ProducerSettings, String> {
        let sources = Sources::text(format!("[producer]\n{keys}"));
        let config = Config::default().with(ProducerSettings::default()).merge(&sources);
        config.map(|config| config.section()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_key_of_the_weather_api_never_travels_in_the_clear() {
        let right = settings("upstream = \"http://10.0.0.7\"").map(|settings| settings.upstream.to_string());
        assert_eq!(right.as_deref(), Ok("http://10.0.0.7"));
        assert_eq!(
            settings("upstream = \"http://8.8.8.8\""),
            Err("bramble.toml:2:12: producer.upstream: \"http://8.8.8.8\" would send the key unencrypted; http:// is for \
                 loopback and private addresses, use https://"
                .to_owned())
        );
        assert!(settings("upstream = 7").is_err_and(|said| said.contains("7 is not a URL")));
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for keys in [
            "upstream = \"https://user:hunter2@example.org\"",
            "upstream = \"https://example.org?appid=hunter2\"",
            "api_key = \"hunter2\"",
        ] {
            let said = settings(keys).expect_err("it is wrong");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_language_is_a_code_of_two_letters_and_perhaps_two_more() {
        for (code, is_right) in [("de", true), ("zh_cn", true), ("deu", false), ("zh-cn", false), ("", false)] {
            assert_eq!(settings(&format!("language = \"{code}\"")).is_ok(), is_right, "{code}");
        }
    }
}
