//! Nothing of a record can be changed unseen, and no shortcut of the opener changes what it accepts.

mod bus;
mod independent;

use std::collections::HashSet;

use ed25519_dalek::SigningKey;
use fedmsg::envelope::Wire;
use fedmsg::open::Opener;
use fedmsg::record::State;
use fedmsg::rejection::Rejection;
use fedmsg::seal::{Draft, Sealed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn flip(wire: &Wire, bit: usize) -> Wire {
    let (mut topic, mut envelope) = (wire.topic.to_vec(), wire.envelope.to_vec());
    match bit.checked_sub(8 * topic.len()) {
        None => topic[bit / 8] ^= 1 << (bit % 8),
        Some(bit) => envelope[bit / 8] ^= 1 << (bit % 8),
    }
    Wire { topic: topic.into(), envelope: envelope.into() }
}

fn fresh() -> Opener {
    Opener::new(bus::trust())
}

#[test]
fn every_flipped_bit_is_refused_and_moves_nothing() {
    let (mut sealer, genesis) = bus::open_epoch("bodhi.backend01/0", 1);
    let alone = bus::seal(&mut sealer, 1).remove(0);
    let third_of_five = bus::seal(&mut sealer, 5).remove(2);
    let beat = sealer.heartbeat(State::Open, "digest", bus::NOW);
    for sealed in [genesis, alone, third_of_five, beat] {
        // One opener remembers the root of the true record, the other nothing.
        let mut warm = fresh();
        let opened = warm.open(&sealed.wire).expect("unchanged");
        assert_eq!((opened.place().leaf, opened.i()), (sealed.leaf, sealed.i));
        for bit in 0..8 * sealed.wire.len() {
            let changed = flip(&sealed.wire, bit);
            for opener in [&mut warm, &mut fresh()] {
                let refused = opener.open(&changed).expect_err("a flipped bit");
                assert_eq!(refused.place, None, "bit {bit} of {changed:?}");
            }
        }
    }
}

#[test]
fn every_cut_is_refused_and_none_panics() {
    let wire = bus::seal(&mut bus::sealer("bodhi.backend01/0", 1), 3).remove(1).wire;
    let mut warm = fresh();
    warm.open(&wire).expect("whole");
    for length in 0..wire.envelope.len() {
        let cut = Wire { envelope: wire.envelope.slice(..length), ..wire.clone() };
        let refused = warm.open(&cut).expect_err("cut");
        let expected = [
            Rejection::Malformed,
            Rejection::Truncated,
            // Cut just behind a quote and a brace, or within the first members.
            Rejection::Unsigned,
        ];
        assert!(expected.contains(&refused.reason), "{length}: {}", refused.reason);
        let tail = Wire { envelope: wire.envelope.slice(length + 1..), ..wire.clone() };
        assert!(warm.open(&tail).is_err());
    }
    for length in 0..wire.topic.len() {
        let cut = Wire { topic: wire.topic.slice(..length), ..wire.clone() };
        assert!(warm.open(&cut).is_err());
    }
}

/// What is done to a run of honest records on its way.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index, Index),
    Drop(Index),
    Double(Index, Index),
    Swap(Index, Index),
    /// The signature of one record under the content of another.
    Transplant(Index, Index),
    /// The topic frame of another.
    Retopic(Index, Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let two = || (any::<Index>(), any::<Index>());
    prop_oneof![
        3 => two().prop_map(|(a, b)| Harm::Flip(a, b)),
        1 => any::<Index>().prop_map(Harm::Drop),
        1 => two().prop_map(|(a, b)| Harm::Double(a, b)),
        1 => two().prop_map(|(a, b)| Harm::Swap(a, b)),
        1 => two().prop_map(|(a, b)| Harm::Transplant(a, b)),
        1 => two().prop_map(|(a, b)| Harm::Retopic(a, b)),
    ]
}

fn suffer(run: &mut Vec<Wire>, harm: &Harm) {
    if run.is_empty() {
        return;
    }
    let len = run.len();
    match harm {
        Harm::Flip(at, bit) => {
            let wire = at.get(run).clone();
            run[at.index(len)] = flip(&wire, bit.index(8 * wire.len()));
        }
        Harm::Drop(at) => drop(run.remove(at.index(len))),
        Harm::Double(from, to) => run.insert(to.index(len), from.get(run).clone()),
        Harm::Swap(a, b) => run.swap(a.index(len), b.index(len)),
        Harm::Transplant(from, to) => {
            let donor = from.get(run).envelope.clone();
            let Some((_, proof)) = halves(&donor) else { return };
            let Some((content, _)) = halves(&run[to.index(len)].envelope) else { return };
            run[to.index(len)].envelope = [content, proof].concat().into();
        }
        Harm::Retopic(from, to) => run[to.index(len)].topic = from.get(run).topic.clone(),
    }
}

/// A second frame before and from its signature member on.
fn halves(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let member = b",\"signature\":\"";
    let at = frame.windows(member.len()).rposition(|part| part == member)?;
    Some(frame.split_at(at))
}

/// Three streams of two identities and three keys, batches of the given sizes in turn, some heartbeats.
fn honest(batches: &[(u8, u8, bool)]) -> Vec<Sealed> {
    let streams = [("bodhi.backend01/0", 1), ("bodhi.backend01/1", 3), ("koji.hub/0", 2)];
    let opened = streams.map(|(stream, seed)| bus::open_epoch(stream, seed));
    let mut run: Vec<Sealed> = opened.iter().map(|(_, genesis)| genesis.clone()).collect();
    let mut sealers = opened.map(|(sealer, _)| sealer);
    for (stream, size, beat) in batches {
        let sealer = &mut sealers[usize::from(*stream)];
        run.extend(bus::seal(sealer, usize::from(*size)));
        if *beat {
            run.push(sealer.heartbeat(State::Open, "digest", bus::NOW));
        }
    }
    run
}

fn content(wire: &Wire) -> Option<(Vec<u8>, Vec<u8>)> {
    halves(&wire.envelope).map(|(content, _)| (wire.topic.to_vec(), content.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn each_message_of_a_batch_proves_itself_alone(size in 1..=130usize, at in any::<Index>()) {
        let batch = bus::seal(&mut bus::sealer("bodhi.backend01/0", 1), size);
        let one = at.get(&batch);
        let opened = fresh().open(&one.wire).expect("alone");
        prop_assert_eq!((opened.i(), opened.place().leaf), (one.i, one.leaf));
        let public = SigningKey::from_bytes(&[1; 32]).verifying_key();
        prop_assert!(independent::verifies(&public, independent::MESSAGE, &one.wire.envelope));
    }

    #[test]
    fn a_flipped_bit_in_a_batch_is_refused(
        size in 1..=64usize, at in any::<Index>(), bits in vec(any::<Index>(), 1..40),
    ) {
        let batch = bus::seal(&mut bus::sealer("bodhi.backend01/0", 1), size);
        let mut warm = fresh();
        for sealed in &batch {
            warm.open(&sealed.wire).expect("unchanged");
        }
        let wire = &at.get(&batch).wire;
        for bit in bits {
            let changed = flip(wire, bit.index(8 * wire.len()));
            prop_assert!(warm.open(&changed).is_err());
            prop_assert!(fresh().open(&changed).is_err());
        }
    }

    #[test]
    fn no_shortcut_changes_which_contents_are_accepted(
        batches in vec((0..3u8, 1..9u8, any::<bool>()), 1..10),
        harms in vec(harm(), 0..16),
        cuts in vec(any::<Index>(), 0..3),
    ) {
        let honest = honest(&batches);
        let sealed: HashSet<_> = honest.iter().map(|s| content(&s.wire).expect("sealed")).collect();
        let mut run: Vec<Wire> = honest.into_iter().map(|sealed| sealed.wire).collect();
        for harm in &harms {
            suffer(&mut run, harm);
        }
        // Each on its own, by an opener that remembers nothing; by one that remembers; and as runs.
        let alone: Vec<_> = run.iter().map(|wire| fresh().open(wire)).collect();
        let mut warm = fresh();
        let remembered: Vec<_> = run.iter().map(|wire| warm.open(wire)).collect();
        let mut walker = fresh();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(run.len() + 1)).collect();
        ends.extend([0, run.len()]);
        ends.sort_unstable();
        let parts = ends.windows(2).flat_map(|ends| walker.open_run(&run[ends[0]..ends[1]]));
        let walked: Vec<_> = parts.collect();
        prop_assert_eq!(walked.len(), run.len());
        for (at, wire) in run.iter().enumerate() {
            // The memory of roots changes no verdict at all.
            prop_assert_eq!(alone[at].is_ok(), remembered[at].is_ok());
            // The walk accepts what its own signature proves, and beside it only contents that were
            // sealed just like this, and whose signature alone was broken on the way.
            match (&alone[at], &walked[at]) {
                (Ok(a), Ok(w)) => prop_assert_eq!(a.place(), w.place()),
                (Ok(_), Err(refused)) => prop_assert!(false, "the walk refused: {}", refused.reason),
                (Err(refused), Ok(_)) => {
                    prop_assert!(sealed.contains(&content(wire).expect("a content")));
                    prop_assert_eq!(refused.reason, Rejection::BadSignature);
                }
                (Err(a), Err(w)) if w.reason != a.reason => {
                    // Authentic by its successor, and then refused for what anybody can see in it.
                    prop_assert_eq!(a.reason, Rejection::BadSignature);
                }
                (Err(_), Err(_)) => {}
            }
        }
        let accepted = |opened: &[Result<_, _>]| -> HashSet<_> {
            let kept = run.iter().zip(opened).filter(|(_, opened)| opened.is_ok());
            kept.map(|(wire, _)| content(wire).expect("a content")).collect()
        };
        prop_assert!(accepted(&walked).is_subset(&sealed));
        prop_assert!(accepted(&alone).is_subset(&accepted(&walked)));
    }

    #[test]
    fn arbitrary_frames_never_panic(topic in vec(any::<u8>(), 0..40), envelope in vec(any::<u8>(), 0..400)) {
        let wire = Wire { topic: topic.into(), envelope: envelope.into() };
        prop_assert!(fresh().open(&wire).is_err());
    }

    #[test]
    fn arbitrary_content_that_is_signed_well_never_panics(content in "[\\x20-\\x7e\\PC]{0,200}") {
        let record = bus::Record::default();
        let start = record.content();
        let start = start.split_once(",\"epoch\"").expect("an epoch").0.to_owned();
        let wire = record.sign(format!("{start},{content}").as_bytes());
        let result = fresh().open(&wire);
        prop_assert!(result.is_err_and(|refused| refused.reason != Rejection::BadSignature));
    }

    #[test]
    fn json_in_a_draft_comes_out_as_it_was(text in "\\PC{0,60}", number in any::<i64>(), name in "\\PC{1,20}") {
        let body = serde_json::json!({ "text": text, "number": number, "deep": [{ "x": name }] });
        let draft = Draft::new("bodhi.x").body(&body).header(&*name, &*text).username(&*name);
        let sealed = bus::seal_draft(&mut bus::sealer("bodhi.backend01/0", 1), draft);
        let opened = fresh().open(&sealed.wire).expect("sealed");
        prop_assert_eq!(opened.body::<serde_json::Value>().expect("a body"), body);
        prop_assert_eq!(opened.headers().get(&name), Some(&text));
        prop_assert_eq!(opened.username(), Some(&*name));
    }
}

#[test]
fn a_seed_gives_the_same_bytes_on_every_machine() {
    let make = || honest(&[(0, 3, true), (2, 64, false)]);
    let bytes = |run: Vec<Sealed>| run.into_iter().map(|s| s.wire).collect::<Vec<_>>();
    assert_eq!(bytes(make()), bytes(make()));
}
