//! The address of the weather API. The key travels in the address of every call, so a call in the clear is only for a
//! network of one's own.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use surf::Url;

/// The base URL of a weather API, to which its key may be sent: `https`, or `http` to loopback and private addresses
/// (10/8, 172.16/12, 192.168/16, fc00::/7). Has no user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// As it was written.
    text: String,
    url: Url,
}

impl BaseUrl {
    /// The URL of the current weather.
    pub fn endpoint(&self) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/data/2.5/weather", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

impl FromStr for BaseUrl {
    /// How a sentence goes on after the text.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // idna_adapter 1.0 knows no letter but those of ASCII, and asserts so in debug builds; a `%` could hide one.
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        if !text.is_ascii() || authority.contains('%') {
            return Err("has letters that are not ASCII; write the host as xn--...");
        }
        let url: Url =
            text.parse().map_err(|_| r#"is not a URL; write for example "https://api.openweathermap.org""#)?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(
                "has a user, a question mark or a hash; the base URL has none, and the key belongs in api_key_file",
            );
        }
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            _ if host.is_empty() => Err("has no host"),
            _ if url.port() == Some(0) => Err("has port 0, which cannot be called"),
            "https" => Ok(()),
            "http" if is_private(host) => Ok(()),
            "http" => {
                Err("would send the key unencrypted; http:// is for loopback and private addresses, use https://")
            }
            _ => Err("is neither https:// nor http://"),
        }?;
        Ok(Self { text: text.to_owned(), url })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_private(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> &'static str {
        BaseUrl::from_str(text).expect_err(text)
    }

    #[test]
    fn the_key_travels_in_the_clear_only_on_a_private_network() {
        for private in [
            "http://localhost:8090",
            "http://LOCALHOST",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://10.1.2.3",
            "http://172.16.0.1",
            "http://172.31.255.255",
            "http://192.168.0.7/",
            "http://[::1]:8090",
            "http://[fd12::1]",
            "http://[fd00::7]",
            "http://[::ffff:10.0.0.1]",
            "https://api.openweathermap.org",
            "https://proxy.example:8443/owm",
        ] {
            assert_eq!(BaseUrl::from_str(private).map(|url| url.to_string()).as_deref(), Ok(private));
        }
        for public in [
            "http://api.openweathermap.org",
            "http://172.32.0.1",
            "http://172.15.0.1",
            "http://8.8.8.8",
            "http://192.169.0.1",
            "http://169.254.1.1", // any host on the cable may have it
            "http://0.0.0.0",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
            "http://localhost.example.org",
            "http://127.0.0.1.example",
            "http://10.example.org",
        ] {
            assert!(refusal(public).starts_with("would send the key unencrypted"), "{public}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (wrong, why) in [
            ("", "is not a URL"),
            ("api.openweathermap.org", "is not a URL"),
            ("https://", "is not a URL"),
            ("ftp://10.0.0.1", "is neither"),
            ("data:x", "has no host"),
            ("https://example.org:0", "has port 0"),
            ("https://h/?appid=1", "has a user, a question mark or a hash"),
            ("https://h/#x", "has a user, a question mark or a hash"),
            ("https://user:secret@h/", "has a user, a question mark or a hash"),
            ("https://b\u{fc}snau.example", "has letters that are not ASCII"),
            ("https://b%C3%BCsnau.example", "has letters that are not ASCII"),
        ] {
            assert!(refusal(wrong).starts_with(why), "{wrong}: {}", refusal(wrong));
        }
    }

    #[test]
    fn a_path_of_its_own_stays_in_front() {
        let path = |text| BaseUrl::from_str(text).expect("fine").endpoint().to_string();
        assert_eq!(path("https://api.openweathermap.org"), "https://api.openweathermap.org/data/2.5/weather");
        assert_eq!(path("http://127.0.0.1:8090/owm/"), "http://127.0.0.1:8090/owm/data/2.5/weather");
    }
}
