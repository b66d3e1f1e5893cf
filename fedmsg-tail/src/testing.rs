//! Messages for tests, sealed and opened like real ones.

use std::sync::Arc;

use fedmsg::Draft;
use fedmsg::envelope::{Epoch, Wire};
use fedmsg::event::{Message, Rejected};
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{SecretKey, TrustedKey};
use fedmsg::merkle::Leaf;
use fedmsg::open::Opener;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::record::{After, Level, State};
use fedmsg::rejection::Rejection;
use fedmsg::seal::{self, Sealer};
use fedmsg::timestamp::Timestamp;
use fedmsg::trust::Trust;

/// When everything happens.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

/// A draft with this JSON text as its body.
pub(crate) fn draft(topic: &str, body: &str) -> Draft {
    Draft::new(topic).raw_body(body).msg_id("2026-id")
}

/// One publisher, `bodhi.backend01`, and one reader.
pub(crate) struct Bus {
    trust: Arc<Trust>,
    identity: Identity,
    sealer: Sealer,
    opener: Opener,
}

impl Default for Bus {
    fn default() -> Bus {
        let identity = Identity::parse("bodhi.backend01").expect("identity");
        let key = Arc::new(SecretKey::from_seed(&[7; 32]).expect("key"));
        let mut trust = Trust::default();
        let trusted = TrustedKey::new(key.public().clone(), identity.clone());
        trust.keys.add(trusted).expect("key");
        let all = Subject::service("*").expect("subject");
        let rule = Rule::new(Action::Publish, all, &[">"], &trust.naming, "test").expect("rule");
        trust.policy = Policy::new(vec![rule]);
        let trust = Arc::new(trust);
        let stream = StreamName::parse("bodhi.backend01/0").expect("stream");
        let epoch = Epoch::next(NOW, [7; 10], None);
        let first = (After::Nothing, Leaf::NONE);
        let (sealer, _) = Sealer::open_epoch(key, stream, epoch, first, Level::Memory, NOW);
        let opener = Opener::new(Arc::clone(&trust));
        Bus { trust, identity, sealer, opener }
    }
}

impl Bus {
    fn seal(&mut self, draft: Draft) -> Wire {
        let fresh = || "2026-fresh".to_owned();
        let checked = seal::check(draft, &self.identity, &self.trust, fresh).expect("draft");
        self.sealer.seal(&[checked], NOW).remove(0).wire
    }

    fn open(&mut self, wire: &Wire) -> Message {
        let verified = self.opener.open(wire).expect("opened");
        Message::new(verified, self.identity.clone(), NOW)
    }

    /// A verified message.
    pub(crate) fn message(&mut self, draft: Draft) -> Message {
        let wire = self.seal(draft);
        self.open(&wire)
    }

    /// A verified heartbeat.
    pub(crate) fn heartbeat(&mut self) -> Message {
        let wire = self.sealer.heartbeat(State::Open, "digest", NOW).wire;
        self.open(&wire)
    }

    /// A message whose signature does not fit.
    pub(crate) fn forged(&mut self, draft: Draft) -> Rejected {
        let mut wire = self.seal(draft);
        let mut envelope = wire.envelope.to_vec();
        let at = envelope.windows(9).position(|part| part == b"\"msg_id\":").expect("msg_id");
        envelope[at + 11] ^= 1;
        wire.envelope = envelope.into();
        let refused = self.opener.open(&wire).expect_err("forged");
        assert_eq!(refused.reason, Rejection::BadSignature);
        Rejected::new(*refused, self.identity.clone())
    }
}
