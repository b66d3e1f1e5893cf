//! R4: kill -9 of a publisher, again and again. `FEDMSG_KILLS=5000 cargo test -p fedmsg-tests kills` does it longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fedmsg::envelope::Epoch;

use crate::harness::kept::{self, Place, Record, kept};
use crate::harness::witness::Witness;
use crate::harness::{Bus, Program, Rounds, command};

/// So many answers at most are waited for before a kill, and so many microseconds where the start is interrupted.
const ANSWERS_MAX: u64 = 300;
const START_US: u64 = 30_000;
const BYTES: usize = 200;
/// The whole journal is compared after so many kills, and at the end.
const COMPARED_EVERY: u64 = 500;

/// What was acknowledged: the round and the number of the message in it.
type Acknowledged = BTreeMap<Place, (u64, u64)>;

/// Starts a publisher and kills it, somewhere; what it acknowledged.
fn round(bus: &Bus, number: u64, rounds: &mut Rounds) -> Vec<(Place, u64)> {
    let mut publisher = command("examples/publisher");
    publisher.arg(bus.etc()).arg("app.one");
    let mut publisher = Program::start(publisher);
    if rounds.chance(6) == 0 {
        // While it recovers, or opens the epoch. Nothing is waited for here: the moment is by chance.
        std::thread::sleep(Duration::from_micros(rounds.chance(START_US)));
        publisher.kill();
        return Vec::new();
    }
    let ready = publisher.line();
    assert!(ready.starts_with("ready app.one/0 ") && ready.ends_with(" direct"), "{ready}");
    publisher.tell(&format!("each 1000000 app.n round{number} {BYTES}"));
    let answers = 1 + rounds.chance(ANSWERS_MAX);
    let mut lines: Vec<String> = (0..answers).map(|_| publisher.line()).collect();
    publisher.kill();
    lines.extend(publisher.last_lines());
    let places = lines.iter().filter_map(|line| acknowledged(line));
    places.zip(1..).collect()
}

/// The position of an answer; nothing of a line that the kill cut off.
fn acknowledged(line: &str) -> Option<Place> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["sent", "app.one/0", epoch, i, "-"] => Some((Epoch::parse(epoch)?, i.parse().ok()?)),
        ["failed", ..] => panic!("{line}"),
        _ => None,
    }
}

/// Everything that was acknowledged is in the journal, as what it was.
fn compare(folder: &Path, acknowledged: &Acknowledged) -> BTreeMap<Place, Record> {
    let kept = kept(folder);
    for (place, (round, n)) in acknowledged {
        let record = kept.get(place);
        let record = record.unwrap_or_else(|| panic!("{place:?} was acknowledged and is not kept"));
        let tag = format!("round{round}");
        assert_eq!(
            (&record.msg["tag"], &record.msg["n"]),
            (&tag.into(), &(*n).into()),
            "{place:?}"
        );
    }
    kept
}

#[test]
fn nothing_acknowledged_is_lost_and_no_number_is_used_twice() {
    let mut rounds = Rounds::new("kills of a publisher", "FEDMSG_KILLS", 100);
    let bus = Bus::new(&[]);
    let address = bus.service("app.one", 1).remove(0);
    let settings = "[journal]\nsegment_bytes = 524288\nkeep_bytes = 1099511627776\n";
    fs::write(bus.path("etc/15-journal.toml"), settings).expect("written");
    let folder = bus.path("state/streams/app.one/0/journal");
    let witness = Witness::at(&address);
    let mut all = Acknowledged::new();
    for number in 1..=rounds.count {
        for (place, n) in round(&bus, number, &mut rounds) {
            let before = all.insert(place, (number, n));
            assert_eq!(before, None, "{place:?} was acknowledged twice, now in round {number}");
        }
        if number % COMPARED_EVERY == 0 {
            compare(&folder, &all);
        }
        rounds.progress(number, &format!("{} acknowledged", all.len()));
    }
    let kept = compare(&folder, &all);
    let seen = witness.end();
    for (place, leaf) in &seen {
        let record = kept.get(place);
        let record = record.unwrap_or_else(|| panic!("{place:?} was published and is not kept"));
        assert_eq!(record.leaf, *leaf, "{place:?} was published as something else than is kept");
    }
    assert!(!all.is_empty() && !seen.is_empty(), "{} and {}", all.len(), seen.len());
    kept::check(&bus);
    let epochs = kept.keys().map(|(epoch, _)| *epoch).collect::<std::collections::BTreeSet<_>>();
    rounds.end(&format!(
        "{} acknowledged, 0 lost; {} seen on the wire, all kept; {} in the journal, {} epochs",
        all.len(),
        seen.len(),
        kept.len(),
        epochs.len()
    ));
}
