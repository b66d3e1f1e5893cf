//! Those who ask what nobody should, or too much, or do not read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedmsg::frames::{Ask, ErrorCode, Reply, RequestId};
use fedmsg::journal::Settings;
use fedmsg::limits::{ENVELOPE_BYTES_MAX, NUMBER_MAX};
use fedmsg::testing::Faults;

use crate::client::{PATIENCE, code, name};
use crate::host::{Host, STREAM, small};

fn frames(parts: &[&[u8]]) -> Vec<Bytes> {
    parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()
}

pub fn garbage_is_answered_and_harms_nobody(host: &Host) {
    let shelf = host.shelf();
    let server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(3, 10);
    let mut client = host.client();
    let number = 7_u64.to_be_bytes();
    let long = vec![b'x'; ENVELOPE_BYTES_MAX];
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..1_000).map(|_| random.u8(..)).collect();
    let many = vec![&b"R1"[..]; 5_000];
    let cases: [(&[&[u8]], ErrorCode); 10] = [
        (&[b""], ErrorCode::Malformed),
        (&[&noise], ErrorCode::Malformed),
        (&[b"R1"], ErrorCode::Malformed),
        (&[b"R2", b"HEAD", b"1", STREAM.as_bytes()], ErrorCode::Malformed),
        (&[b"R1", b"DROP", b"1", STREAM.as_bytes()], ErrorCode::Malformed),
        (&[b"R1", b"HEAD", b"1", STREAM.as_bytes(), b""], ErrorCode::Malformed),
        (&[b"R1", b"FIND", b"1", STREAM.as_bytes(), &noise], ErrorCode::Malformed),
        (&[b"R1", b"LIST", b"1", &long], ErrorCode::TooLarge),
        (
            &[b"R1", b"ACK", b"1", STREAM.as_bytes(), b"no epoch", &number, b"c"],
            ErrorCode::Malformed,
        ),
        (&many, ErrorCode::Malformed),
    ];
    for (n, (parts, expected)) in cases.iter().enumerate() {
        client.send(&frames(parts));
        let answers = client.answers();
        assert_eq!((answers.len(), code(&answers[0].reply)), (1, *expected), "case {n}");
        let id = if parts.len() > 2 && parts[2].len() < 16 { parts[2] } else { b"" };
        assert_eq!(answers[0].id.as_bytes(), id, "case {n}");
    }
    // Streams and epochs that nobody has.
    for stream in ["bodhi.backend01/1", "nobody.here/0", "a.b/0192f0c1-7d2e-7000-8000-000000000001"]
    {
        assert_eq!(client.head(stream), Err(ErrorCode::UnknownStream), "{stream}");
    }
    let other = fedmsg::envelope::Epoch::new(uuid::Uuid::from_u128(7));
    assert_eq!(code(&client.get(STREAM, other, 1).1), ErrorCode::UnknownEpoch);
    assert_eq!(client.catch_up(STREAM, writer.epoch(), 0).len(), 4, "and it still answers");
    assert_eq!(server.counts().malformed, 10);
}

pub fn no_name_leads_out_of_the_folder(host: &Host) {
    let shelf = host.shelf();
    let server = host.serve(&shelf);
    // A journal beside `streams`, and one above the state folder's place for it, which must not be found.
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(3, 10);
    writer.journal.close().expect("closed");
    let journal = host.slot(STREAM).join("journal");
    let outside = host.state.path().join("secret.files").join("0");
    std::fs::create_dir_all(&outside).expect("a folder");
    std::fs::rename(&journal, outside.join("journal")).expect("moved");
    let mut client = host.client();
    let long = format!("a.{}/0", "x".repeat(300));
    for stream in [
        "../secret.files/0",
        "./../secret.files/0",
        "a.b/../../secret.files/0",
        "a.b/0/../../../secret.files/0",
        "a..b/0",
        "../..",
        "..",
        "/etc/passwd",
        "//",
        "/0",
        "a.b/",
        "a.b/.",
        "a.b/..",
        "a.b/-1",
        "a.b/00",
        "a.b/0\0",
        "a.b\0/0",
        "a.b/0\n",
        "A.b/0",
        "a.b%2f..%2f../0",
        "a\\..\\b.c/0",
        "\u{2024}\u{2024}/0",
        &long,
        "",
    ] {
        client.send(&frames(&[b"R1", b"HEAD", b"1", stream.as_bytes()]));
        let answers = client.answers();
        let found = code(&answers[0].reply);
        assert!(
            matches!(found, ErrorCode::Malformed | ErrorCode::TooLarge),
            "{stream:?}: {found:?}"
        );
    }
    let latin = b"caf\xe9.a/0";
    client.send(&frames(&[b"R1", b"HEAD", b"1", latin]));
    assert_eq!(code(&client.answers()[0].reply), ErrorCode::Malformed);
    // What is a good name stays inside, and is not there.
    assert_eq!(client.head("secret.files/0"), Err(ErrorCode::UnknownStream));
    assert_eq!(server.counts().records, 0);
    let (mut list, token) = (client.ask(Ask::List { token: Bytes::new() }), Bytes::new());
    assert!(
        matches!(&list.remove(0), Reply::Page { streams, .. } if streams.is_empty()),
        "{token:?}"
    );
    // The same journal at its own place is found: the test could fail.
    std::fs::rename(outside.join("journal"), &journal).expect("moved back");
    let start = Instant::now();
    while client.head(STREAM).is_err() {
        assert!(start.elapsed() < PATIENCE, "it is found in time");
        client.pause();
    }
}

pub fn ten_thousand_questions_at_once_are_bounded_and_hold_nobody_up(host: &Host) {
    const QUESTIONS: usize = 10_000;
    let shelf = host.shelf();
    let server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, small(1 << 30));
    (0..5).for_each(|_| writer.append(200, 500));
    let epoch = writer.epoch();
    let (mut hostile, mut other) = (host.client(), host.client());
    other.head(STREAM).expect("it is there");
    let slowest = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (stream, to, max, filters) = (name(STREAM), NUMBER_MAX, 10_000, Vec::new());
            let ask = Ask::Get { stream, epoch, from: 1, to, max, filters };
            let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
            let mut asked = 0_usize;
            let (start, mut told) = (Instant::now(), Vec::new());
            while ends.values().sum::<usize>() < QUESTIONS {
                assert!(start.elapsed() < 4 * PATIENCE, "{asked} asked, {ends:?}");
                let id = RequestId::new(&asked.to_be_bytes()).expect("an id");
                let request = fedmsg::frames::Request { id, ask: ask.clone() }.encode();
                if asked < QUESTIONS && hostile.asker.ask(&host.address, &request) {
                    asked += 1;
                    continue;
                }
                hostile.asker.receive(Duration::from_millis(10), &mut told);
                for told in told.drain(..) {
                    match &told.frames[1][..] {
                        b"MSG" => {}
                        b"END" => *ends.entry("end").or_default() += 1,
                        b"ERR" => *ends.entry("busy").or_default() += 1,
                        verb => panic!("{verb:?}"),
                    }
                }
            }
            ends
        });
        let mut slowest = Duration::ZERO;
        while !asking.is_finished() {
            let start = Instant::now();
            other.head(STREAM).expect("it is there");
            slowest = slowest.max(start.elapsed());
            other.pause();
        }
        let ends = asking.join().expect("all answered");
        assert!(ends["busy"] > QUESTIONS / 2, "{ends:?}");
        assert!(ends["end"] > 20, "{ends:?}");
        slowest
    });
    assert!(slowest < Duration::from_secs(2), "another one waited {slowest:?}");
    assert!(server.counts().busy > QUESTIONS as u64 / 2, "{server:?}");
}

pub fn a_peer_that_never_reads_holds_nobody_up(host: &Host) {
    let shelf = host.shelf();
    let server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, small(1 << 30));
    (0..10).for_each(|_| writer.append(100, 2_000));
    let epoch = writer.epoch();
    let (mut deaf, mut other) = (host.client(), host.client());
    let (stream, to, max, filters) = (name(STREAM), NUMBER_MAX, 10_000, Vec::new());
    let ask = Ask::Get { stream, epoch, from: 1, to, max, filters };
    for _ in 0..300 {
        // Some of them are not taken any more.
        let request =
            fedmsg::frames::Request { id: RequestId::new(b"1").expect("an id"), ask: ask.clone() };
        if deaf.asker.ask(&host.address, &request.encode()) {
            continue;
        }
        deaf.start(ask.clone());
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(other.catch_up(STREAM, epoch, 0).len(), 1_001);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    // One who does not read gets what the sockets hold and no more is made for it.
    let given = server.counts().bytes;
    let others = 20 * writer.wires.iter().map(|wire| wire.len() as u64).sum::<u64>();
    assert!(given - others < 100 << 20, "{given} bytes were given, {others} of them read");
}

pub fn faults_on_the_way_are_survived(host: &Host) {
    let shelf = host.shelf();
    let _server = host.serve(&shelf);
    let mut writer = host.writer(STREAM, Settings::default());
    writer.append(50, 100);
    let mut client = host.client();
    client.head(STREAM).expect("it is there");
    // A heartbeat beside the journal that is none is not shown.
    std::fs::write(host.slot(STREAM).join("heartbeat"), "garbage\n{}").expect("written");
    assert_eq!(client.head(STREAM).expect("it is there").0, None);
    let Some(memory) = &host.memory else { return };
    memory.set_faults(Faults { lose: 0.2, double: 0.2, reorder: 0.2, ..Faults::seeded(11) });
    let (stream, epoch) = (name(STREAM), writer.epoch());
    let ask = Ask::Get { stream, epoch, from: 0, to: 50, max: 100, filters: Vec::new() };
    let mut got = BTreeMap::new();
    let start = Instant::now();
    while got.len() < 51 {
        assert!(start.elapsed() < PATIENCE, "all arrives in the end");
        client.start(ask.clone());
        let mut told = Vec::new();
        client.asker.receive(Duration::from_millis(20), &mut told);
        for told in told {
            let answer = fedmsg::frames::Answer::parse(&told.frames).expect("whole");
            if let Reply::Msg { i, wire } = answer.reply {
                assert_eq!(wire, writer.wires[i as usize]);
                got.insert(i, wire);
            }
        }
    }
    memory.set_faults(Faults::seeded(11));
    memory.partition_address(&host.address);
    assert!(!client.asker.ask(&host.address, &frames(&[b"R1"])), "cut off");
    memory.heal_address(&host.address);
    let mut again = host.client();
    assert_eq!(again.catch_up(STREAM, epoch, 0).len(), 51);
}
