//! The golden vectors: today's code makes exactly these bytes, and opens them; so does the second, independent
//! implementation in these tests. `cargo run -p fedmsg --example make_vectors` writes them.

#[path = "vectors/make.rs"]
mod make;

use std::sync::Arc;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use fedmsg::envelope::Wire;
use fedmsg::frames::{Answer, Request};
use fedmsg::open::Opener;
use make::independent;
use serde_json::Value;

fn stored(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).expect(name);
    serde_json::from_str(&text).expect(name)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().expect(member)
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().expect(member)
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().expect("text").as_bytes()).expect("hex")
}

#[test]
fn the_library_makes_exactly_these_bytes() {
    for (name, made) in make::vectors() {
        assert!(made == stored(name), "{name} is no longer what the library makes");
    }
}

#[test]
fn keys_are_written_as_the_document_says() {
    for key in stored("keys.json").as_array().expect("keys") {
        let seed: [u8; 32] = unhex(&key["seed_hex"]).try_into().expect("32 bytes");
        let public = SigningKey::from_bytes(&seed).verifying_key();
        assert_eq!(unhex(&key["public_hex"]), public.as_bytes());
        assert_eq!(text(key, "id"), independent::key_id(public.as_bytes()));
        assert_eq!(text(key, "secret"), independent::secret_text(&seed));
        let base64 = data_encoding::BASE64URL_NOPAD.encode(public.as_bytes());
        assert_eq!(text(key, "public"), base64);
    }
}

#[test]
fn every_record_opens_here_and_by_the_document_alone() {
    let file = stored("records.json");
    let public = SigningKey::from_bytes(&make::seed()).verifying_key();
    for tree in list(&file, "trees") {
        let leaves: Vec<independent::Hash> =
            list(tree, "leaves_hex").iter().map(|l| unhex(l).try_into().expect("leaf")).collect();
        assert_eq!(HEXLOWER.encode(&independent::root(&leaves)), text(tree, "root_hex"));
        for record in list(tree, "records") {
            let envelope = text(record, "envelope").as_bytes().to_vec();
            let domain = format!("fedmsg/v1/{}\0", text(record, "kind"));
            assert!(independent::verifies(&public, &domain, &envelope), "{}", text(tree, "name"));
            let leaf = independent::leaf(&domain, text(record, "content").as_bytes());
            assert_eq!(HEXLOWER.encode(&leaf), text(record, "leaf_hex"));

            let wire =
                Wire { topic: text(record, "topic").to_owned().into(), envelope: envelope.into() };
            let opened = Opener::new(Arc::new(make::trust())).open(&wire).expect("a good record");
            assert_eq!(Some(opened.i()), record["i"].as_u64());
            assert_eq!(opened.place().leaf.0, leaf);
        }
    }
}

#[test]
fn the_independent_signer_makes_the_same_trees() {
    let file = stored("records.json");
    let key = SigningKey::from_bytes(&make::seed());
    for tree in list(&file, "trees").iter().filter(|tree| tree["size"].as_u64() < Some(5)) {
        let records = list(tree, "records");
        let contents: Vec<&[u8]> = records.iter().map(|r| text(r, "content").as_bytes()).collect();
        let domain = format!("fedmsg/v1/{}\0", text(&records[0], "kind"));
        let signed = independent::sign(&key, &domain, &contents);
        for (record, frame) in records.iter().zip(signed) {
            assert_eq!(text(record, "envelope").as_bytes(), frame);
        }
    }
}

#[test]
fn every_bad_record_is_refused_for_its_reason() {
    for case in stored("refused.json").as_array().expect("cases") {
        let (topic, envelope) = (text(case, "topic").to_owned(), text(case, "envelope").to_owned());
        let wire = Wire { topic: topic.into(), envelope: envelope.into() };
        let refused = Opener::new(Arc::new(make::trust())).open(&wire).expect_err("a bad record");
        assert_eq!(refused.reason.name(), text(case, "reason"), "{wire:?}");
        assert_eq!(Some(refused.place.is_some()), case["uses_position"].as_bool(), "{wire:?}");
    }
}

#[test]
fn every_frame_is_read_and_written_again() {
    let file = stored("frames.json");
    let read = |one: &Value| list(one, "frames_hex").iter().map(unhex).collect::<Vec<_>>();
    for one in list(&file, "requests") {
        let request = Request::parse(&read(one)).expect("a request");
        assert_eq!(request.encode(), read(one), "{}", text(one, "name"));
    }
    for one in list(&file, "answers") {
        let answer = Answer::parse(&read(one)).expect("an answer");
        assert_eq!(answer.encode(), read(one), "{}", text(one, "name"));
    }
}
