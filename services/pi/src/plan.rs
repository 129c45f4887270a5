//! Plan of the Pi, from the files on the card: what is right counts, and all mistakes are said at once.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bramble::Config;
use bramble::trust::ClusterKey;
use bramble_producer::ProducerSettings;

use crate::card::Card;
use crate::machine::{self, Machine};
use crate::settings::{Pi, PiService};

const CONFIG: &str = "bramble.toml";
const API_KEY: &str = "api-key";
const CLUSTER_KEY: &str = "cluster-key";
const AUTHORIZED: &str = "authorized_keys";
/// As Linux calls the network card of a Pi 2, and of an emulated one.
const CARDS: [&str; 2] = ["eth0", "usb0"];
const NO_API_KEY: &str = "the producer has no key of the weather API and does not run: put the key into a file named api-key \
                          on the card, beside bramble.toml, or take \"producer\" out of [pi] roles";

/// Plan of the Pi.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `[pi]` as it counts.
    pub(crate) pi: Pi,
    /// In the order of the configuration.
    pub(crate) roles: Vec<Planned>,
    /// Whether anything is to be announced by mDNS.
    pub(crate) has_mdns: bool,
    /// Public keys that may log in.
    pub(crate) ssh_keys: Vec<String>,
    /// Sentences.
    pub(crate) problems: Vec<String>,
}

/// A role with all it needs to know.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) role: PiService,
    config: Config,
    /// Name in the role's folder, and content.
    secrets: Vec<(&'static str, Vec<u8>)>,
    /// Why it is not started. What to do about it is a problem of the plan.
    pub(crate) blocked: Option<&'static str>,
}

impl Plan {
    /// Reads the card. What it does not set is as in `defaults`.
    pub(crate) fn read(card: Option<&Card>, defaults: &Config) -> Self {
        let mut read = Reader { card, problems: Vec::new(), said: BTreeSet::new() };
        let file = read.find(CONFIG).unwrap_or_default();
        let (config, mistakes) = defaults.clone().merge_tolerant(&file, CONFIG);
        read.problems.extend(mistakes.iter().map(ToString::to_string));
        let (mut pi, has_mdns): (Pi, _) = (config.section(), config.discovery.mdns);
        let roles = std::mem::take(&mut pi.roles);
        let roles = roles.into_iter().map(|role| read.role(role, config.clone())).collect();
        let mut ssh_keys = std::mem::take(&mut pi.ssh_keys);
        ssh_keys.extend(read.authorized());
        Self { pi, roles, has_mdns, ssh_keys, problems: read.problems }
    }
}

struct Reader<'a> {
    card: Option<&'a Card>,
    problems: Vec<String>,
    /// Files of which something was said: several roles read the same.
    said: BTreeSet<PathBuf>,
}

impl Reader<'_> {
    /// Configuration of `role` with the card's settings.
    fn role(&mut self, role: PiService, mut config: Config) -> Planned {
        let mut secrets = Vec::new();
        let mut place = |slot: &mut Option<PathBuf>, name: &'static str, secret: Option<Vec<u8>>| {
            *slot = secret.as_ref().map(|_| folder(role).join(name));
            secrets.extend(secret.map(|secret| (name, secret)));
        };
        if config.discovery.interfaces.is_empty() {
            // There are no others. As "the one of the default route" it would be loopback until the network is up.
            config.discovery.interfaces = CARDS.map(String::from).into();
        }
        let cluster_key = self.cluster_key(config.node.cluster_key_file.as_deref());
        let mut blocked = None;
        if cluster_key.is_err() && role != PiService::Registry {
            // Without its key this role would believe every host. The page is harmless without, and says what is wrong.
            blocked = Some("its cluster key cannot be used");
        }
        place(&mut config.node.cluster_key_file, CLUSTER_KEY, cluster_key.unwrap_or_default());
        let mut producer: ProducerSettings = config.section();
        if role == PiService::Producer {
            let api_key = self.secret(producer.api_key_file.as_deref(), API_KEY);
            place(&mut producer.api_key_file, API_KEY, api_key);
            let ca = self.named(producer.ca_file.as_deref());
            place(&mut producer.ca_file, "ca", ca);
            let password = self.named(config.cache.password_file.as_deref());
            place(&mut config.cache.password_file, "password", password);
            if producer.api_key_file.is_none() {
                blocked = Some("it has no key of the weather API");
                self.say(API_KEY.into(), NO_API_KEY);
            }
        } else {
            (producer.api_key_file, producer.ca_file, config.cache.password_file) = (None, None, None);
        }
        let config = config.with(producer);
        Planned { role, config, secrets, blocked }
    }

    /// The key of the cluster, if there is to be one.
    fn cluster_key(&mut self, named: Option<&Path>) -> Result<Option<Vec<u8>>, ()> {
        let Some(key) = self.secret(named, CLUSTER_KEY) else {
            return if named.is_some() { Err(()) } else { Ok(None) };
        };
        let name = named.unwrap_or(Path::new(CLUSTER_KEY));
        match ClusterKey::from_bytes(&key, name) {
            Ok(_) => Ok(Some(key)),
            Err(error) => {
                self.say(name.into(), &format!("producer and consumer do not run: {error}"));
                Err(())
            }
        }
    }

    /// The content of the file that is named, else of the one that may lie beside the configuration.
    fn secret(&mut self, named: Option<&Path>, default: &str) -> Option<Vec<u8>> {
        if named.is_some() { self.named(named) } else { self.find(default) }
    }

    /// The content of the file that is named.
    fn named(&mut self, name: Option<&Path>) -> Option<Vec<u8>> {
        let name = name?;
        let card = self.card?;
        card.read(name).inspect_err(|error| self.say(name.into(), &unreadable(name, error))).ok()
    }

    /// A file that may be missing.
    fn find(&mut self, name: &str) -> Option<Vec<u8>> {
        let found = self.card?.find(name);
        found.inspect_err(|error| self.say(name.into(), &unreadable(Path::new(name), error))).ok().flatten()
    }

    fn authorized(&mut self) -> Vec<String> {
        let file = self.find(AUTHORIZED).unwrap_or_default();
        let text = String::from_utf8_lossy(&file);
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut keys = Vec::new();
        for (number, line) in lines.map(|(number, line)| (number + 1, line)) {
            match Pi::check_ssh_key(line) {
                Ok(()) => keys.push(line.to_owned()),
                Err(why) => self.problems.push(format!("{AUTHORIZED}:{number}: the line {why}")),
            }
        }
        keys
    }

    fn say(&mut self, file: PathBuf, sentence: &str) {
        if self.said.insert(file) {
            self.problems.push(sentence.to_owned());
        }
    }
}

fn unreadable(name: &Path, error: &io::Error) -> String {
    format!("{} on the card cannot be read: {error}", name.display())
}

/// The one place where a role may write.
pub(crate) fn folder(role: PiService) -> PathBuf {
    Path::new("/run/bramble").join(role.as_str())
}

impl Planned {
    /// Writes what the role reads. `owner` is the role's user and group, `None` where this process is not root.
    pub(crate) fn write(&self, machine: &Machine, owner: Option<u32>) -> io::Result<()> {
        let folder = folder(self.role);
        let place = machine.path(&folder.to_string_lossy());
        crate::data::private(&place)?;
        let mut config = self.config.clone();
        let mut producer: ProducerSettings = config.section();
        let paths = [
            &mut config.node.cluster_key_file,
            &mut producer.api_key_file,
            &mut producer.ca_file,
            &mut config.cache.password_file,
        ];
        for path in paths.into_iter().flatten() {
            *path = machine.path(&path.to_string_lossy());
        }
        let config = config.with(producer).to_toml();
        let files = self.secrets.iter().map(|(name, content)| (*name, content.as_slice()));
        for (name, content) in files.chain([(CONFIG, config.as_bytes())]) {
            let path = place.join(name);
            machine::replace(&path, content, 0o400)?;
            if owner.is_some() {
                std::os::unix::fs::chown(path, owner, owner)?;
            }
        }
        std::os::unix::fs::chown(&place, owner, owner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::machine::tests::Folder;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn defaults() -> Config {
        Config::default().with(ProducerSettings::default()).with(Pi::default())
    }

    fn plan(folder: &Folder) -> Plan {
        Plan::read(Some(&Card::folder(folder.0.join("card"))), &defaults())
    }

    fn said(plan: &Plan, words: &str) -> usize {
        plan.problems.iter().filter(|problem| problem.contains(words)).count()
    }

    #[test]
    fn an_empty_card_makes_a_pi_with_all_three_roles_that_lacks_only_the_key() {
        let folder = Folder::new("plan-empty");
        let plan = plan(&folder);
        let roles: Vec<&str> = plan.roles.iter().map(|planned| planned.role.as_str()).collect();
        assert_eq!(roles, ["producer", "consumer", "registry"]);
        assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
        assert_eq!(said(&plan, "file named api-key on the card"), 1);
        assert!(plan.roles[0].blocked.is_some() && plan.roles[1].blocked.is_none());
        assert!(plan.ssh_keys.is_empty());
    }

    #[test]
    fn without_a_card_the_defaults_count() {
        assert_eq!(Plan::read(None, &defaults()).roles.len(), 3);
    }

    #[test]
    fn a_broken_file_counts_as_far_as_it_is_right_and_each_mistake_is_said_once() {
        let folder = Folder::new("plan-broken");
        let text = "[pi]\nhostname = \"shelf\"\nroles = [\"consumer\", \"juggler\"]\n[call]\ntimeout = \"soon\"\n";
        folder.write("card/bramble.toml", text);
        let plan = plan(&folder);
        assert_eq!(plan.pi.hostname, "shelf");
        assert_eq!(plan.roles.len(), 1);
        assert_eq!(plan.problems.len(), 2, "{:?}", plan.problems);
        assert_eq!((said(&plan, "bramble.toml:3"), said(&plan, "call.timeout")), (1, 1));
    }

    #[test]
    fn each_role_gets_its_secrets_and_no_others() {
        let folder = Folder::new("plan-secrets");
        folder.write("card/bramble.toml", "[producer]\napi_key_file = \"keys/owm.txt\"\n");
        folder.write("card/keys/owm.txt", "abc123\n");
        folder.write("card/cluster-key", KEY);
        folder.write("run/bramble/x", "");
        let plan = plan(&folder);
        assert!(plan.problems.is_empty(), "{:?}", plan.problems);
        let machine = folder.machine();
        for planned in &plan.roles {
            planned.write(&machine, None).expect("written");
        }
        let names = |role: &str| machine.names(&format!("/run/bramble/{role}"));
        assert_eq!(names("producer"), ["api-key", "bramble.toml", "cluster-key"]);
        assert_eq!(names("consumer"), ["bramble.toml", "cluster-key"]);
        let path = machine.path("/run/bramble/producer");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("api-key"))), (0o700, 0o400));
        let config = std::fs::read(path.join("bramble.toml")).expect("written");
        let (config, mistakes) = defaults().merge_tolerant(config, "bramble.toml");
        let producer: ProducerSettings = config.section();
        assert_eq!((mistakes, producer.api_key_file), (vec![], Some(path.join("api-key"))));
    }

    #[test]
    fn with_a_broken_cluster_key_only_the_page_runs_and_it_runs_without() {
        for key in [Some("short"), None] {
            let folder = Folder::new("plan-cluster");
            folder.write("card/bramble.toml", "[node]\ncluster_key_file = \"my-key\"\n");
            folder.write("card/api-key", "abc");
            if let Some(key) = key {
                folder.write("card/my-key", key);
            }
            let plan = plan(&folder);
            let blocked: Vec<bool> = plan.roles.iter().map(|planned| planned.blocked.is_some()).collect();
            assert_eq!(blocked, [true, true, false], "these must not run as if there were no key");
            assert_eq!((plan.problems.len(), said(&plan, "my-key")), (1, 1), "{:?}", plan.problems);
            assert_eq!(plan.roles[2].config.node.cluster_key_file, None);
        }
    }

    #[test]
    fn ssh_keys_come_from_the_settings_and_from_a_file_and_what_is_no_key_is_not_shown() {
        let folder = Folder::new("plan-ssh");
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ111111111111111111111111111111111111111111";
        folder.write("card/bramble.toml", format!("[pi]\nssh_keys = [\"{key} a\"]\nroles = [\"consumer\"]"));
        folder.write("card/authorized_keys", format!("\u{feff}{key} b\r\n# mine\n\nopen sesame\n"));
        let plan = plan(&folder);
        assert_eq!(plan.ssh_keys, [format!("{key} a"), format!("{key} b")]);
        assert_eq!((said(&plan, "authorized_keys:4"), said(&plan, "sesame")), (1, 0));
    }
}
