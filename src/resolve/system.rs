//! Name settings of the machine: `/etc/hosts` and `/etc/resolv.conf`. Both are small and change when a network comes or
//! goes, so they are looked at before each query and read again when they are others.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes read of a file; more is no configuration.
const MAX_FILE: u64 = 1 << 20;

/// As glibc: more servers, domains or attempts only make a failure longer.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;
const MAX_ATTEMPTS: u32 = 5;
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

const DNS_PORT: u16 = 53;

/// Servers, search domains and times of lookups, as in `resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverConfig {
    /// Asked in turn.
    pub servers: Vec<SocketAddr>,
    /// Domains put behind a short name.
    pub search: Vec<String>,
    /// A name with at least so many dots is tried as it is first.
    pub ndots: usize,
    /// How long one server may take.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: u32,
    /// Names known without asking, in lower case.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

impl ResolverConfig {
    /// Asks `servers`, with the defaults of a resolv.conf that names no options.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            hosts: HashMap::new(),
        }
    }

    /// The two files' content.
    pub fn parse(resolv_conf: &[u8], hosts: &str) -> Self {
        // Lines that make no sense are left out, as everybody else does.
        let (file, mistakes) = resolv_conf::Config::parse_with_errors(resolv_conf);
        for mistake in mistakes {
            log::debug!("resolv.conf: {mistake}");
        }
        let servers = file.nameservers.iter().take(MAX_SERVERS);
        let search = file.get_last_search_or_domain().filter(|domain| domain.as_str() != ".");
        Self {
            servers: servers.map(|server| SocketAddr::new(server.into(), DNS_PORT)).collect(),
            search: search.take(MAX_SEARCH).map(|domain| domain.trim_end_matches('.').to_ascii_lowercase()).collect(),
            ndots: file.ndots.min(15) as usize,
            timeout: Duration::from_secs(file.timeout.max(1).into()).min(MAX_TIMEOUT),
            attempts: file.attempts.clamp(1, MAX_ATTEMPTS),
            hosts: parse_hosts(hosts),
        }
    }
}

/// Reads the format of `/etc/hosts`: an address, then its names; `#` begins a comment.
pub fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(addr) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        for name in words {
            let addrs = hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
    }
    hosts
}

/// Metadata of a file when it was read: changed, replaced or gone shows in one of these.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The two files, and what they said last.
#[derive(Debug)]
pub(super) struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    read: Mutex<Option<([Stamp; 2], Arc<ResolverConfig>)>>,
}

impl Files {
    pub(super) fn new(resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> Self {
        Self { resolv_conf: resolv_conf.into(), hosts: hosts.into(), read: Mutex::new(None) }
    }

    /// Settings as the files have them now, the same value as long as they are the same.
    pub(super) fn config(&self) -> Arc<ResolverConfig> {
        let stamps = [stamp(&self.resolv_conf), stamp(&self.hosts)];
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((known, config)) if *known == stamps => Arc::clone(config),
            _ => {
                let hosts = content(&self.hosts);
                let config = ResolverConfig::parse(&content(&self.resolv_conf), &String::from_utf8_lossy(&hosts));
                let config = Arc::new(config);
                *read = Some((stamps, Arc::clone(&config)));
                config
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

/// Content of a file; empty if it cannot be read: a machine without the file is no error.
fn content(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut content = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content));
    if let Err(error) = read {
        log::debug!("{} is not read: {error}", path.display());
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_understood_and_bounded() {
        let resolv_conf = b"# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver nonsense\n\
            nameserver 192.0.2.3\nnameserver 192.0.2.4\nsearch lan example.org.\n\
            options ndots:2 timeout:3 attempts:99 edns0 unknown-one\n";
        let hosts = "127.0.0.1 localhost # me\n::1 localhost\n\n192.0.2.9\tPi-9.lan pi-9\nnonsense pi-8\n";
        let config = ResolverConfig::parse(resolv_conf, hosts);
        let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
        assert_eq!(config.search, ["lan", "example.org"]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (2, Duration::from_secs(3), MAX_ATTEMPTS));
        assert_eq!(config.hosts["localhost"].len(), 2);
        assert_eq!(config.hosts["pi-9.lan"], config.hosts["pi-9"]);
        assert!(!config.hosts.contains_key("pi-8"));
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_unchanged_one_is_not() {
        let folder = std::env::temp_dir().join(format!("bramble-resolve-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        let files = Files::new(folder.join("resolv.conf"), folder.join("hosts"));
        assert_eq!(files.config().servers, [], "files that are not there are no error");
        fs::write(folder.join("hosts"), "192.0.2.1 a\n").expect("writable");
        let first = files.config();
        assert!(first.hosts.contains_key("a"));
        assert!(Arc::ptr_eq(&first, &files.config()));
        fs::write(folder.join("resolv.conf"), "nameserver 192.0.2.53\n").expect("writable");
        assert_eq!(files.config().servers.len(), 1);
        fs::remove_dir_all(&folder).expect("the test's own folder");
    }
}
