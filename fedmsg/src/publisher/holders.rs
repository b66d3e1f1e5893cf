//! Who is given what a publisher seals, and whose word counts as a copy on another machine. Pure.

use std::collections::BTreeSet;

use crate::config::{Config, EndpointEntry};
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::record::Level;

/// The relays and archives that a publisher hands its records to.
#[derive(Debug)]
pub(super) struct Holders {
    /// All of them.
    pub(super) lines: Vec<EndpointEntry>,
    /// Those whose word counts.
    pub(super) counting: Vec<Identity>,
    /// Those whose word does not count, because they are on the host of the publisher.
    pub(super) here: Vec<Identity>,
}

impl Holders {
    /// Those of a publisher with an endpoint: who is to hold copies, on other hosts.
    pub(super) fn of_direct(config: &Config, identity: &Identity, node: &str) -> Holders {
        let (here, lines) = named(config, identity)
            .into_iter()
            .partition::<Vec<_>, _>(|entry| is_here(entry, config, identity, node));
        let counting = lines.iter().map(|entry| entry.identity.clone()).collect();
        Holders { lines, counting, here: here.into_iter().map(|entry| entry.identity).collect() }
    }

    /// Those of a publisher that goes through relays: the relays, and who is to hold copies. At `stored(n)` a relay of
    /// the same host counts, since it survives the process.
    pub(super) fn of_relayed(
        config: &Config,
        identity: &Identity,
        level: Level,
        node: &str,
    ) -> Holders {
        let mut lines = entries(config, &config.publisher.relays);
        let more = match level {
            Level::Replicated(_) => named(config, identity),
            _ => entries(config, &config.publisher.copies),
        };
        for entry in more {
            if !lines.iter().any(|line| line.identity == entry.identity) {
                lines.push(entry);
            }
        }
        let does_not_count = |entry: &&EndpointEntry| {
            matches!(level, Level::Replicated(_)) && is_here(entry, config, identity, node)
        };
        let (here, counting): (Vec<_>, Vec<_>) = lines.iter().partition(does_not_count);
        let names = |entries: Vec<&EndpointEntry>| {
            entries.into_iter().map(|entry| entry.identity.clone()).collect()
        };
        let (here, counting) = (names(here), names(counting));
        Holders { lines, counting, here }
    }
}

/// Who is to hold copies: whom the configuration names, else the archives, else the relays.
fn named(config: &Config, identity: &Identity) -> Vec<EndpointEntry> {
    let archives = config.endpoints.values().filter(|entry| entry.archive);
    let archives: Vec<_> = archives.map(|entry| entry.identity.clone()).collect();
    let section = &config.publisher;
    let named = [&section.copies, &archives, &section.relays].into_iter();
    let named = named.map(|names| entries(config, names)).find(|entries| !entries.is_empty());
    let others = named.unwrap_or_default().into_iter();
    others.filter(|entry| entry.identity != *identity).collect()
}

fn entries(config: &Config, names: &[Identity]) -> Vec<EndpointEntry> {
    let entries = names.iter().filter_map(|name| config.endpoints.get(name));
    let mut found: Vec<EndpointEntry> = Vec::new();
    for entry in entries.filter(|entry| !entry.submit.is_empty()) {
        if !found.iter().any(|known| known.identity == entry.identity) {
            found.push(entry.clone());
        }
    }
    found
}

/// Whether somebody is on the host of the publisher, as far as addresses tell: they name the same host, this machine
/// (`node`, as the system calls it), or no host at all.
fn is_here(entry: &EndpointEntry, config: &Config, identity: &Identity, node: &str) -> bool {
    let hosts = hosts(entry);
    let own = config.endpoints.get(identity).map(self::hosts).unwrap_or_default();
    hosts.is_empty()
        || hosts.iter().any(|host| is_loopback(host) || own.contains(host) || is_same(host, node))
}

fn hosts(entry: &EndpointEntry) -> BTreeSet<&str> {
    let all = entry.publish.iter().chain(&entry.replay).chain(&entry.submit);
    all.filter_map(Endpoint::host).collect()
}

/// The names of this machine that every machine has.
fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}

/// Whether two names are those of one host; one of them may be short.
fn is_same(host: &str, node: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let is_short = !host.contains('.') || !node.contains('.');
    host == node || is_short && !host.is_empty() && short(host) == short(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Trust;

    fn entry(name: &str, submit: &[&str], archive: bool) -> EndpointEntry {
        let endpoint = |text: &&str| Endpoint::parse(text).expect("an endpoint");
        let identity = Identity::parse(name).expect("an identity");
        let mut entry = EndpointEntry::new(identity, Vec::new());
        (entry.submit, entry.archive) = (submit.iter().map(endpoint).collect(), archive);
        entry
    }

    fn config(relays: &[&str], copies: &[&str]) -> Config {
        let mut app = entry("app.one", &[], false);
        app.publish = vec![Endpoint::parse("tcp://backend01:3000").expect("an endpoint")];
        let endpoints = vec![
            app,
            entry("relay.near", &["tcp://backend01:1"], false),
            entry("relay.far", &["ipc:///run/relay.sock", "tcp://proxy01:1"], false),
            entry("relay.ipc", &["ipc:///run/other.sock"], false),
            entry("archive.a", &["tcp://archive01.example.org:1"], true),
            entry("archive.b", &["tcp://backend01:2"], true),
        ];
        let mut config = Config::in_memory(Trust::default(), endpoints, "/state".into());
        let names = |names: &[&str]| {
            names.iter().map(|name| Identity::parse(name).expect("an identity")).collect()
        };
        (config.publisher.relays, config.publisher.copies) = (names(relays), names(copies));
        config
    }

    fn words(names: &[Identity]) -> Vec<&str> {
        names.iter().map(Identity::as_str).collect()
    }

    #[test]
    fn copies_are_held_by_whom_the_configuration_names_on_other_hosts() {
        let app = Identity::parse("app.one").expect("an identity");
        let of = |config: &Config| Holders::of_direct(config, &app, "elsewhere");
        let archives = of(&config(&["relay.far"], &[]));
        assert_eq!(words(&archives.counting), ["archive.a"]);
        assert_eq!(words(&archives.here), ["archive.b"]);
        let said = of(&config(&["relay.far"], &["relay.near", "relay.far", "relay.ipc"]));
        assert_eq!(words(&said.counting), ["relay.far"], "the others are on this host");
        assert_eq!(said.lines.len(), 1);
        let mut none = config(&["relay.far"], &[]);
        none.endpoints.retain(|_, entry| !entry.archive);
        assert_eq!(words(&of(&none).counting), ["relay.far"]);
    }

    #[test]
    fn relays_are_given_everything_and_those_of_the_host_count_for_stored_alone() {
        let pod = Identity::parse("pod.one").expect("an identity");
        let config = config(&["relay.near", "relay.ipc"], &[]);
        let of = |level| Holders::of_relayed(&config, &pod, level, "backend01.example.org");
        let replicated = of(Level::Replicated(1));
        assert_eq!(words(&replicated.counting), ["archive.a"]);
        assert_eq!(words(&replicated.here), ["relay.near", "relay.ipc", "archive.b"]);
        assert_eq!(replicated.lines.len(), 4, "those of the host publish");
        let stored = of(Level::Stored(1));
        assert_eq!(words(&stored.counting), ["relay.near", "relay.ipc"]);
    }

    #[test]
    fn a_host_may_be_named_in_short() {
        for (host, node, same) in [
            ("backend01", "backend01", true),
            ("backend01", "backend01.example.org", true),
            ("backend01.example.org", "backend01", true),
            ("backend01.example.org", "backend01.example.com", false),
            ("backend02", "backend01", false),
            ("10.0.0.1", "backend01", false),
        ] {
            assert_eq!(is_same(host, node), same, "{host} {node}");
        }
        assert!(is_loopback("127.0.0.1") && !is_loopback("127.0.0.2"));
    }
}
