//! Whom to ask. The processes of an identity on one host serve the same journals, so one of them speaks for all: a host
//! with hundreds of them is not asked hundreds of times for the same.

use std::collections::{BTreeMap, BTreeSet};

use fedmsg::config::EndpointEntry;
use fedmsg::{Endpoint, Identity};

/// Everybody who can be asked.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    of: BTreeMap<Endpoint, usize>,
}

/// The processes of an identity on one host.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) addresses: Vec<Endpoint>,
    /// It keeps streams of others, whoever they are.
    is_relay: bool,
    /// The one that has answered.
    speaker: Option<Endpoint>,
}

impl Groups {
    pub(super) fn new<'a>(entries: impl IntoIterator<Item = &'a EndpointEntry>) -> Groups {
        let mut groups = Groups::default();
        let mut known = BTreeMap::<(&Identity, Option<&str>), usize>::new();
        for entry in entries {
            for address in &entry.replay {
                let at = *known.entry((&entry.identity, address.host())).or_insert_with(|| {
                    let is_relay = !entry.submit.is_empty();
                    groups.groups.push(Group { addresses: Vec::new(), is_relay, speaker: None });
                    groups.groups.len() - 1
                });
                groups.groups[at].addresses.push(address.clone());
                groups.of.insert(address.clone(), at);
            }
        }
        groups
    }

    /// Those of which nobody has answered yet.
    pub(super) fn silent(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.speaker.is_none())
    }

    /// Somebody has answered; the first one of its group speaks for it. Says whether this one does.
    pub(super) fn answered(&mut self, holder: &Endpoint) -> bool {
        let Some(group) = self.of.get(holder).map(|at| &mut self.groups[*at]) else { return false };
        group.speaker.get_or_insert_with(|| holder.clone()) == holder
    }

    /// Whether somebody of its group has answered: then it is worth while to ask this one.
    pub(super) fn is_up(&self, holder: &Endpoint) -> bool {
        self.of.get(holder).is_some_and(|at| self.groups[*at].speaker.is_some())
    }

    /// Those of the same group.
    pub(super) fn are_together(&self, one: &Endpoint, other: &Endpoint) -> bool {
        one != other && self.of.get(one).is_some_and(|at| self.of.get(other) == Some(at))
    }

    /// Whom to ask for a stream: the process that publishes it, one of each group that readers would ask, and relays that
    /// say that they have it.
    pub(super) fn choose(
        &self,
        readers_ask: &[Endpoint],
        listed: &BTreeSet<Endpoint>,
    ) -> Vec<Endpoint> {
        let mut chosen: Vec<Endpoint> = readers_ask.first().cloned().into_iter().collect();
        let mut met = BTreeSet::new();
        let relays = listed
            .iter()
            .filter(|holder| self.of.get(*holder).is_some_and(|at| self.groups[*at].is_relay));
        for holder in readers_ask.iter().chain(relays) {
            let Some(at) = self.of.get(holder) else { continue };
            if met.insert(*at) {
                let speaker = self.groups[*at].speaker.as_ref().unwrap_or(holder);
                if !chosen.contains(speaker) {
                    chosen.push(speaker.clone());
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn at(text: &str) -> Endpoint {
        Endpoint::parse(&format!("tcp://{text}")).expect("an address")
    }

    #[test]
    fn one_process_of_each_group_is_asked_and_the_publisher_itself() {
        let config = config(&[(
            "bus.toml",
            "[endpoints.\"app.one\"]\nreplay = [\"tcp://a:1-3\", \"tcp://b:1\"]\n\
             [endpoints.\"relay.x\"]\nreplay = \"tcp://r:1\"\nsubmit = \"tcp://r:2\"\ncarries = \"a.>\"\n\
             [endpoints.\"web.two\"]\nreplay = \"tcp://a:9\"\n",
        )]);
        let mut groups = Groups::new(config.endpoints.values());
        assert_eq!(groups.silent().count(), 4);
        assert!(groups.answered(&at("a:2")) && !groups.answered(&at("a:3")));
        assert!(groups.answered(&at("r:1")));
        assert_eq!(groups.silent().count(), 2);
        let readers_ask = [at("a:1"), at("a:2"), at("a:3"), at("b:1")];
        let listed = BTreeSet::from([at("a:2"), at("a:9"), at("r:1")]);
        let chosen = groups.choose(&readers_ask, &listed);
        // Another service of the host is not asked: readers would not do so either.
        assert_eq!(chosen, [at("a:1"), at("a:2"), at("b:1"), at("r:1")]);
        let up = chosen.iter().map(|holder| groups.is_up(holder));
        assert_eq!(up.collect::<Vec<_>>(), [true, true, false, true]);
        assert!(groups.are_together(&at("a:1"), &at("a:2")));
        assert!(
            !groups.are_together(&at("a:1"), &at("b:1"))
                && !groups.are_together(&at("a:1"), &at("a:1"))
        );
        assert_eq!(groups.choose(&[], &listed), [at("r:1")]);
    }
}
