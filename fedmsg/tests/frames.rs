//! Replay frames: what is written is read again, and nothing that comes from outside can do harm.

mod frame_samples;

use fedmsg::frames::{Answer, ErrorCode, FrameError, Reply, Request, RequestId, Word};
use frame_samples::{answers, requests};
use proptest::collection::vec;
use proptest::prelude::*;

type Frames = Vec<Vec<u8>>;

fn owned(frames: Vec<bytes::Bytes>) -> Frames {
    frames.into_iter().map(|frame| frame.to_vec()).collect()
}

fn all_samples() -> Vec<Frames> {
    let requests = requests().into_iter().map(|(_, request)| owned(request.encode()));
    requests.chain(answers().into_iter().map(|(_, answer)| owned(answer.encode()))).collect()
}

#[test]
fn every_request_and_answer_is_read_as_it_was_written() {
    for (name, request) in requests() {
        assert_eq!(Request::parse(&request.encode()), Ok(request), "{name}");
    }
    for (name, answer) in answers() {
        assert_eq!(Answer::parse(&answer.encode()), Ok(answer), "{name}");
    }
}

#[test]
fn frames_cut_at_any_byte_or_frame_never_panic() {
    for frames in all_samples() {
        for kept in 0..frames.len() {
            let _ = (Request::parse(&frames[..kept]), Answer::parse(&frames[..kept]));
            for length in 0..frames[kept].len() {
                let mut cut = frames.clone();
                cut[kept].truncate(length);
                let _ = (Request::parse(&cut), Answer::parse(&cut));
                cut.truncate(kept + 1);
                let _ = (Request::parse(&cut), Answer::parse(&cut));
            }
        }
    }
}

#[test]
fn a_frame_too_many_is_refused() {
    for frames in all_samples() {
        let more: Frames = frames.iter().cloned().chain([b"#".to_vec()]).collect();
        for error in [Request::parse(&more).err(), Answer::parse(&more).err()] {
            assert!(error.is_some(), "{frames:?}");
        }
    }
}

#[test]
fn each_fault_has_its_own_error_and_its_err_names_the_request() {
    let stream: &[u8] = b"a.b/0";
    let epoch: &[u8] = b"01997530-0000-7000-8000-000000000001";
    let number = |n: u64| n.to_be_bytes().to_vec();
    let [zero, one, high] = [0, 1, 1 << 53].map(number);
    let long = vec![b'a'; 300];
    let cases: &[(&[&[u8]], FrameError)] = &[
        (&[], FrameError::Missing("version")),
        (&[b"R1"], FrameError::Missing("verb")),
        (&[b"R1", b"HEAD"], FrameError::Missing("req")),
        (&[b"R2", b"HEAD", b"1", stream], FrameError::Version),
        (&[b"", b"HEAD", b"1", stream], FrameError::Version),
        (&[b"R1", b"head", b"1", stream], FrameError::Verb),
        (&[b"R1", b"INFO", b"1", stream], FrameError::Verb),
        (&[b"R1", b"HEAD", b"", stream], FrameError::Malformed("req")),
        (&[b"R1", b"HEAD", &[0; 17], stream], FrameError::Malformed("req")),
        (&[b"R1", b"HEAD", b"1"], FrameError::Missing("stream")),
        (&[b"R1", b"HEAD", b"1", b"a.b"], FrameError::Malformed("stream")),
        (&[b"R1", b"HEAD", b"1", b"a.b/\xff"], FrameError::Malformed("stream")),
        (&[b"R1", b"HEAD", b"1", &long], FrameError::TooLarge("stream")),
        (&[b"R1", b"HEAD", b"1", stream, b""], FrameError::Surplus),
        (&[b"R1", b"LIST", b"1", &[0; 65]], FrameError::TooLarge("token")),
        (&[b"R1", b"FIND", b"1", stream, b"123"], FrameError::Malformed("time")),
        (&[b"R1", b"FIND", b"1", stream, &high], FrameError::TooLarge("time")),
        (&[b"R1", b"GET", b"1", stream, b"x"], FrameError::Malformed("epoch")),
        (&[b"R1", b"GET", b"1", stream, epoch, &one, &zero, &one], FrameError::Malformed("to")),
        (&[b"R1", b"GET", b"1", stream, epoch, &zero, &high, &one], FrameError::TooLarge("to")),
        (&[b"R1", b"GET", b"1", stream, epoch, &zero, &one, &zero], FrameError::Malformed("max")),
        (
            &[b"R1", b"GET", b"1", stream, epoch, &zero, &one, &one, b"a.>.b"],
            FrameError::Malformed("filter"),
        ),
        (&[b"R1", b"PUT", b"1"], FrameError::Missing("messages")),
        (&[b"R1", b"PUT", b"1", b"topic"], FrameError::Missing("messages")),
        (&[b"R1", b"ACK", b"1", stream, epoch, &one, b"a b"], FrameError::Malformed("consumer")),
        (&[b"R1", b"FLOORS", b"1"], FrameError::Missing("stream")),
        (&[b"R1", b"FLOORS", b"1", stream, b""], FrameError::Surplus),
    ];
    for (frames, error) in cases {
        assert_eq!(Request::parse(frames), Err(*error), "{frames:?}");
        let answer = error.answer(frames);
        let code = match error {
            FrameError::TooLarge(_) => ErrorCode::TooLarge,
            _ => ErrorCode::Malformed,
        };
        assert!(matches!(&answer.reply, Reply::Err { code: said, .. } if *said == code));
        let sent = frames.get(2).and_then(|id| RequestId::new(id));
        assert_eq!(answer.id, sent.unwrap_or(RequestId::NONE));
        assert_eq!(Answer::parse(&answer.encode()), Ok(answer));
    }
}

#[test]
fn lists_are_bounded() {
    let put = |messages: usize, bytes: usize| {
        let mut frames: Frames = ["R1", "PUT", "1"].map(|f| f.as_bytes().to_vec()).into();
        frames.extend((0..messages).flat_map(|_| [b"t".to_vec(), vec![b'x'; bytes]]));
        Request::parse(&frames).map(|_| ())
    };
    assert_eq!(put(100, 10), Ok(()));
    assert_eq!(put(4, (1 << 20) - 1), Ok(()));
    assert_eq!(put(101, 10), Err(FrameError::TooLarge("messages")));
    assert_eq!(put(4, 1 << 20), Err(FrameError::TooLarge("messages")));

    let accepted = |at: u64, count: u64| {
        let frames: [&[u8]; 5] =
            [b"R1", b"ACCEPTED", b"1", &at.to_be_bytes(), &count.to_be_bytes()];
        Answer::parse(&frames).map(|_| ())
    };
    assert_eq!((accepted(0, 100), accepted(99, 1)), (Ok(()), Ok(())));
    assert_eq!(accepted(0, 0), Err(FrameError::Malformed("count")));
    assert_eq!(accepted(1, 100), Err(FrameError::TooLarge("count")));
    assert_eq!(accepted(u64::MAX, 1), Err(FrameError::TooLarge("at")));
    assert_eq!(accepted(1, u64::MAX), Err(FrameError::TooLarge("count")));

    let page = |streams: usize| {
        let mut frames: Frames = ["R1", "PAGE", "1", ""].map(|f| f.as_bytes().to_vec()).into();
        frames.push(0u64.to_be_bytes().to_vec());
        let epoch = b"01997530-0000-7000-8000-000000000001";
        let one = [b"a.b/0".to_vec(), epoch.to_vec(), 7u64.to_be_bytes().to_vec()];
        frames.extend((0..streams).flat_map(|_| one.clone()));
        Answer::parse(&frames).map(|_| ())
    };
    assert_eq!((page(0), page(1_000)), (Ok(()), Ok(())));
    assert_eq!(page(1_001), Err(FrameError::TooLarge("streams")));

    let floors = |count: usize, age: u64| {
        let mut frames: Frames = ["R1", "FLOORS", "1"].map(|f| f.as_bytes().to_vec()).into();
        let epoch = b"01997530-0000-7000-8000-000000000001";
        let [upto, age] = [7, age].map(|number: u64| number.to_be_bytes().to_vec());
        let one = [b"badges".to_vec(), epoch.to_vec(), upto, age];
        frames.extend((0..count).flat_map(|_| one.clone()));
        Answer::parse(&frames).map(|_| ())
    };
    assert_eq!((floors(0, 0), floors(256, 1 << 40)), (Ok(()), Ok(())));
    assert_eq!(floors(257, 0), Err(FrameError::TooLarge("floors")));
    assert_eq!(floors(1, u64::MAX), Err(FrameError::TooLarge("age")));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let reply = Reply::Err { code: ErrorCode::Busy, text: "ü€".repeat(300) };
    let answer = Answer { id: RequestId::NONE, reply };
    let read = Answer::parse(&answer.encode()).expect("it fits");
    let Reply::Err { text, .. } = read.reply else { panic!("not an ERR") };
    assert!(text.len() > 508 && text.len() <= 512 && "ü€".repeat(300).starts_with(&text));
}

/// Bytes that look like frames often enough to get past the first checks.
fn likely_frame() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(all_samples().concat());
    let small = (0..300u64).prop_map(|n| n.to_be_bytes().to_vec());
    prop_oneof![4 => known, 1 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 8), 1 => small]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_frames_are_read_or_refused_and_what_was_read_is_written_as_it_came(
        head in vec(any::<u8>(), 0..4),
        frames in vec(likely_frame(), 0..12),
        version in any::<bool>(),
    ) {
        let mut frames = frames;
        if version {
            frames.insert(0, b"R1".to_vec());
        } else {
            frames.insert(0, head);
        }
        if let Ok(request) = Request::parse(&frames) {
            prop_assert_eq!(owned(request.encode()), frames.clone());
        }
        if let Ok(answer) = Answer::parse(&frames) {
            prop_assert_eq!(owned(answer.encode()), frames);
        }
    }

    #[test]
    fn a_changed_sample_is_refused_or_another_one(
        which in any::<prop::sample::Index>(), frame in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let samples = all_samples();
        let mut frames = which.get(&samples).clone();
        let before = frames.clone();
        let frame = frame.index(frames.len());
        prop_assume!(!frames[frame].is_empty());
        let byte = byte.index(frames[frame].len());
        frames[frame][byte] ^= flip;
        if let Ok(request) = Request::parse(&frames) {
            prop_assert_ne!(owned(request.encode()), before.clone());
        }
        if let Ok(answer) = Answer::parse(&frames) {
            prop_assert_ne!(owned(answer.encode()), before);
        }
    }

    #[test]
    fn words_print_as_they_are_read(text in "\\PC{0,70}", plain in "[A-Za-z0-9._-]{1,64}") {
        if let Some(word) = Word::parse(&text) {
            prop_assert_eq!(word.as_str(), &text);
        }
        prop_assert_eq!(Word::parse(&plain).map(|w| w.to_string()), Some(plain));
    }
}
