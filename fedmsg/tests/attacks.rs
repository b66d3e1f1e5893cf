//! What somebody who is not to be trusted could try: each attack found in review, as one test.

mod bus;
mod independent;

use fedmsg::open::Opener;
use fedmsg::rejection::Rejection;
use fedmsg::seal::{Draft, check};

#[test]
fn a_carrier_cannot_break_a_signature_whose_root_is_remembered() {
    // A relay that took such a record would answer STORED for bytes that nobody can verify later.
    let mut sealer = bus::sealer("bodhi.backend01/0", 1);
    let batch = bus::seal(&mut sealer, 3);
    let mut opener = Opener::new(bus::trust());
    opener.open(&batch[0].wire).expect("good");
    let mut broken = batch[1].wire.clone();
    let (bytes, mut proof) = {
        let (bytes, proof) = independent::cut(&broken.envelope);
        (bytes.to_vec(), proof)
    };
    proof[5] ^= 1;
    broken.envelope = independent::frame(&bytes, &proof).into();
    let refused = opener.open(&broken).expect_err("a broken signature");
    assert_eq!(refused.reason, Rejection::BadSignature);
    assert!(opener.open(&batch[1].wire).is_ok());
}

#[test]
fn a_carrier_cannot_use_a_position_up_by_changing_the_topic_frame() {
    // Frame 1 is not signed. Were the position used up, the true message would fall out as a duplicate.
    let mut sealer = bus::sealer("bodhi.backend01/0", 1);
    let mut wire = bus::seal(&mut sealer, 1).remove(0).wire;
    wire.topic = b"org.example.prod.bodhi.other".to_vec().into();
    let refused = Opener::new(bus::trust()).open(&wire).expect_err("re-topiced");
    assert_eq!(refused.reason, Rejection::TopicMismatch);
    assert_eq!(refused.place, None);
}

#[test]
fn a_record_whose_number_does_not_fit_its_kind_has_no_position() {
    for (i, kind) in [(0, "message"), (3, "genesis"), (3, "heartbeat")] {
        let record = bus::Record { i, kind, ..bus::Record::default() };
        let refused = Opener::new(bus::trust()).open(&record.signed()).expect_err(kind);
        assert_eq!((refused.reason, refused.place), (Rejection::OutOfBounds, None), "{kind}");
    }
    let after = r#"{"after":{"epoch":"0192f0c1-7d2e-7000-8000-000000000001","last":18446744073709551615},"level":"local"}"#;
    let record = bus::Record { i: 0, kind: "genesis", msg: after.into(), ..Default::default() };
    let refused = Opener::new(bus::trust()).open(&record.signed()).expect_err("beyond 2^53");
    assert_eq!(refused.reason, Rejection::OutOfBounds);
}

#[test]
fn one_message_is_one_line_for_whoever_reads_lines() {
    for white in ['\n', '\r', '\t'] {
        let record = bus::Record { msg: format!("{{{white}}}"), ..Default::default() };
        let refused = Opener::new(bus::trust()).open(&record.signed()).expect_err("two lines");
        assert_eq!(refused.reason, Rejection::Malformed);
        assert!(refused.place.is_some(), "the signature is good, so the position is used up");

        let draft = Draft::new("bodhi.x").raw_body(format!("{{{white}\"a\":{white}1}}"));
        let sealed = bus::seal_draft(&mut bus::sealer("bodhi.backend01/0", 1), draft);
        let opened = Opener::new(bus::trust()).open(&sealed.wire).expect("sealed in one line");
        assert_eq!(opened.msg(), "{\"a\":1}");
    }
}

#[test]
fn nothing_is_sealed_that_readers_would_refuse_for_its_size() {
    let identity = bus::identity(&format!("bodhi.{}", "b".repeat(194)));
    let stream = format!("{identity}/01997530-0000-7000-8000-000000000009");
    let topic = format!("org.example.prod.bodhi.{}", "t".repeat(232));
    let dirty = "\u{1}".repeat(128);
    let mut sealed_sizes = Vec::new();
    for room in ((1 << 20) - 4_096..1 << 20).step_by(32) {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(room - 8));
        let draft = Draft::new(&topic).raw_body(body).msg_id(&dirty).username(&dirty);
        let Ok(checked) = check(draft, &identity, &bus::trust(), String::new) else { break };
        let sealed = bus::sealer(&stream, 1).seal(&[checked], bus::NOW);
        // A place in a tree of 64 needs six nodes more, of 32 bytes each in base64url.
        sealed_sizes.push(sealed[0].wire.envelope.len() + 256);
    }
    let longest = sealed_sizes.last().expect("some fit");
    assert!(*longest <= 1 << 20, "{longest} bytes");
}

#[test]
fn headers_that_fit_are_sealed() {
    let value = "x".repeat(4_096);
    let draft = (0..64).fold(Draft::new("bodhi.x"), |d, n| d.header(format!("h{n}"), &value));
    let sealed = bus::seal_draft(&mut bus::sealer("bodhi.backend01/0", 1), draft);
    Opener::new(bus::trust()).open(&sealed.wire).expect("64 headers of 4,096 bytes are allowed");
}

#[test]
fn a_successor_vouches_for_its_own_key_and_stream_alone() {
    // Key 1 and key 3 both are bodhi's. Key 1 signs a record whose `prev` names a content that claims to be
    // of key 3, or of another stream, and that its claimed signer never saw.
    for (seed, stream) in
        [(1, "bodhi.backend01/0"), (3, "bodhi.backend01/0"), (1, "bodhi.backend01/1")]
    {
        let forged = bus::Record { seed, stream, ..Default::default() };
        let leaf = independent::leaf(independent::MESSAGE, forged.content().as_bytes());
        let prev = data_encoding::BASE64URL_NOPAD.encode(&leaf);
        let successor = bus::Record { i: 2, prev, ..Default::default() };
        // Nobody signed it: the signature is of other bytes.
        let mut wire = forged.signed();
        wire.envelope = independent::frame(forged.content().as_bytes(), &{
            let (_, proof) = independent::cut(&successor.signed().envelope);
            proof
        })
        .into();
        let opened = Opener::new(bus::trust()).open_run(&[wire, successor.signed()]);
        assert!(opened[1].is_ok());
        let own = (seed, stream) == (1, "bodhi.backend01/0");
        assert_eq!(opened[0].is_ok(), own, "key {seed}, {stream}");
    }
}

#[test]
fn a_refused_successor_vouches_only_when_its_signature_is_good() {
    let forged = bus::Record::default();
    let leaf = independent::leaf(independent::MESSAGE, forged.content().as_bytes());
    let prev = data_encoding::BASE64URL_NOPAD.encode(&leaf);
    let successor = bus::Record { i: 2, prev, seed: 9, ..Default::default() };
    let mut claimed = successor.signed();
    let key_1 = bus::Record { seed: 1, ..successor };
    let (_, proof) = independent::cut(&claimed.envelope);
    claimed.envelope = independent::frame(key_1.content().as_bytes(), &proof).into();
    let mut first = forged.signed();
    first.envelope = independent::frame(forged.content().as_bytes(), &proof).into();
    let opened = Opener::new(bus::trust()).open_run(&[first, claimed]);
    assert!(opened.iter().all(Result::is_err));
}
