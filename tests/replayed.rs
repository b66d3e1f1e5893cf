//! Last year's traffic, genuine and sent again, to somebody who never saw the stream.

use std::sync::Arc;

use fedmsg::config::Config;
use fedmsg::envelope::Epoch;
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level, State};
use fedmsg::seal::{Sealer, check};
use fedmsg::timestamp::Timestamp;
use fedmsg::{Draft, StreamName};
use serde_json::json;

use crate::harness::{Bus, Peer};

#[test]
fn old_traffic_is_not_shown_as_live() {
    let bus = Bus::new(&[]);
    let key = bus.known_key("old.one", 7);
    let peer = Peer::bind(&bus.entry("old.one", 1)[0]);
    let config = Config::load(&bus.load()).expect("configuration");
    let stream = StreamName::parse("old.one/0").expect("stream");
    let epoch = Epoch::parse("01944f00-0000-7000-8000-000000000001").expect("epoch");
    let then = Timestamp::from_millis(1_736_000_000_000);
    let before = (After::Nothing, Leaf::NONE);
    let (mut sealer, genesis) =
        Sealer::open_epoch(Arc::new(key), stream, epoch, before, Level::Memory, then);
    let identity = fedmsg::Identity::parse("old.one").expect("identity");
    let drafts: Vec<_> = (0..3)
        .map(|n| {
            let draft = Draft::new("old.n").body(&json!({ "n": n }));
            check(draft, &identity, &config.trust, || format!("2025-{n}")).expect("a draft")
        })
        .collect();
    let sealed = sealer.seal(&drafts, then);
    let beat = sealer.heartbeat(State::Open, "", then);

    let mut live = bus.tail(&["--json"]);
    peer.wait();
    let mut all = bus.tail(&["--json", "--unverified", "show"]);
    peer.wait();
    for record in [&genesis].into_iter().chain(&sealed).chain([&beat]) {
        peer.wire(&record.wire);
    }
    for i in 1..=3 {
        let line = all.json();
        assert_eq!((&line["verdict"], &line["i"]), (&json!("stale"), &json!(i)));
    }
    live.says("not shown, because it may be old traffic");
    live.term();
    let (code, out, errors) = live.end();
    assert_eq!((code, out.len()), (143, 0), "{errors:?}");
}
