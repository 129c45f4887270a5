//! Instances that the configuration names: for networks where neither multicast nor an alias gets through.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Directory, Instance, Source};

/// Enters the list into the directory. It never changes after that.
pub fn fill(directory: &Directory, list: &BTreeMap<String, Vec<SocketAddr>>, now: Instant) {
    for (service, addrs) in list {
        let service: Arc<str> = Arc::from(service.as_str());
        let instances = addrs
            .iter()
            .map(|addr| Instance::new(addr.to_string(), Arc::clone(&service), *addr, Source::Fixed))
            .collect();
        directory.replace(Source::Fixed, &service, instances, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_address_is_an_instance() {
        let now = Instant::now();
        let directory = Directory::new(crate::discovery::ServiceFilter::None, now);
        let addrs = vec![SocketAddr::from(([192, 0, 2, 7], 9001)), SocketAddr::from(([192, 0, 2, 8], 9001))];
        fill(&directory, &BTreeMap::from([("producer".into(), addrs)]), now);
        let found = directory.instances("producer").expect("listed");
        assert_eq!(
            found.iter().map(|instance| &*instance.id).collect::<Vec<_>>(),
            ["192.0.2.7:9001", "192.0.2.8:9001"]
        );
    }
}
