//! What decides whether a message counts: names, keys and policy, as one snapshot.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::keys::KeyRing;
use crate::policy::Policy;
use crate::topic::Naming;

/// Names, keys and policy of a bus at one moment. Replaced as a whole, never changed in place.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Topic prefix and environment.
    pub naming: Naming,
    /// Who holds which key.
    pub keys: KeyRing,
    /// Who may publish and read what.
    pub policy: Policy,
}

impl Trust {
    /// A digest of keys and policy and of `endpoints`, the lines that the caller adds: heartbeats carry
    /// it, so that a host with an old configuration shows. The order of keys and rules has no meaning.
    pub fn digest(&self, endpoints: &[String]) -> String {
        let mut lines: Vec<String> =
            endpoints.iter().map(|line| format!("endpoint {line}")).collect();
        lines.push(format!("naming {} {}", self.naming.prefix(), self.naming.environment()));
        lines.extend(self.keys.iter().map(|key| {
            let (from, to) = (key.not_before, key.not_after);
            format!("key {} {} {from:?} {to:?} {}", key.public.id(), key.identity, key.revoked)
        }));
        lines.extend(self.policy.rules().iter().map(|rule| {
            let mut topics: Vec<&str> = rule.topics().iter().map(|t| t.as_str()).collect();
            topics.sort_unstable();
            let mut except: Vec<String> = rule.except.iter().map(ToString::to_string).collect();
            except.sort_unstable();
            format!("rule {} {} {topics:?} {except:?}", rule.action, rule.subject)
        }));
        lines.sort_unstable();
        lines.dedup();
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        BASE64URL_NOPAD.encode(&hash.finalize()[..12])
    }
}
