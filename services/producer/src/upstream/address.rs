//! The key travels in the address of every call, so a call in the clear is only for a network that nobody else hears.

use std::net::IpAddr;

use surf::Url;

/// Why no weather API can be asked at an address. Carries the address as it was configured, which holds no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an absolute URL, or one with more than scheme, host, port and path.
    #[error(
        "[producer] upstream = \"{0}\" is no address of a weather API; write it like https://api.openweathermap.org"
    )]
    Malformed(String),
    /// `http` to somewhere public.
    #[error(
        "[producer] upstream = \"{0}\" would send the key in the clear; use https, or http with localhost, a loopback or \
         a private address (10/8, 172.16/12, 192.168/16, fc00::/7)"
    )]
    InTheClear(String),
}

/// The URL of the current weather under a base address.
///
/// # Errors
/// The address is no URL, has credentials, a query or a fragment, or would send the key in the clear.
pub fn endpoint(upstream: &str) -> Result<Url, AddressError> {
    let malformed = || AddressError::Malformed(upstream.to_owned());
    let mut url = Url::parse(upstream).map_err(|_| malformed())?;
    let host = url.host_str().ok_or_else(malformed)?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: whoever writes credentials here wants them shown least of all.
        return Err(AddressError::Malformed("(with a user name)".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(malformed());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_private(host) => {}
        "http" => return Err(AddressError::InTheClear(upstream.to_owned())),
        _ => return Err(malformed()),
    }
    let path = format!("{}/data/2.5/weather", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn is_private(host: &str) -> bool {
    if host == "localhost" {
        return true;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_travels_in_the_clear_only_where_nobody_else_hears() {
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
            "http://[::ffff:10.0.0.1]",
            "https://api.openweathermap.org",
        ] {
            assert!(endpoint(private).is_ok(), "{private}");
        }
        for public in [
            "http://api.openweathermap.org",
            "http://172.32.0.1",
            "http://172.15.0.1",
            "http://8.8.8.8",
            "http://192.169.0.1",
            "http://169.254.1.1",
            "http://0.0.0.0",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
            "http://localhost.example.org",
            "http://10.example.org",
        ] {
            assert_eq!(endpoint(public), Err(AddressError::InTheClear(public.into())), "{public}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["", "api.openweathermap.org", "ftp://10.0.0.1", "https://h/?appid=1", "https://h/#x", "data:x"] {
            assert_eq!(endpoint(wrong), Err(AddressError::Malformed(wrong.into())), "{wrong}");
        }
        let error = endpoint("https://user:secret@h/").expect_err("credentials");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn a_path_of_its_own_stays_in_front() {
        let path = |upstream| endpoint(upstream).expect("fine").to_string();
        assert_eq!(path("https://api.openweathermap.org"), "https://api.openweathermap.org/data/2.5/weather");
        assert_eq!(path("http://127.0.0.1:8090/owm/"), "http://127.0.0.1:8090/owm/data/2.5/weather");
    }
}
