//! Whatever is lost, doubled and reordered: what is handed on and what is declared missing is everything,
//! once, in order.

use fastrand::Rng;

use crate::steps::{Reader, Writer, at};

#[test]
fn everything_is_handed_on_once_in_order_or_declared_missing() {
    for seed in 0..300 {
        let words = check(seed);
        assert!(!words.is_empty(), "seed {seed}");
    }
}

/// One interleaving.
fn check(seed: u64) -> Vec<String> {
    let mut random = Rng::with_seed(seed);
    let mut writer = Writer::new();
    let mut reader = Reader::of(&mut writer);
    let (lose, double) = (random.f64() * 0.5, random.f64() * 0.5);
    let mut on_the_way = Vec::new();
    for step in 0..60 {
        let time = 10 * step;
        let mut sealed = writer.seal_at(random.usize(0..4), at(time));
        if random.u8(0..6) == 0 {
            sealed.push(writer.beat(time + 5));
        }
        for sealed in sealed {
            let copies =
                if random.f64() < lose { 0 } else { 1 + usize::from(random.f64() < double) };
            on_the_way.extend((0..copies).map(|_| sealed.clone()));
        }
        while on_the_way.len() > random.usize(0..8) {
            let at = random.usize(0..on_the_way.len());
            reader.take(&on_the_way.swap_remove(at));
        }
        reader.pass(random.u64(0..60));
    }
    reader.take_all(&on_the_way);
    reader.take(&writer.beat(10_000));
    reader.pass(1_000);
    assert!(!reader.sequencer.is_waiting(), "seed {seed}");
    let words = reader.take_words();
    let (mut next, mut delivered, mut lost) = (1, 0, 0);
    for word in &words {
        let (from, to) = match word.strip_prefix("lost:").map(|range| range.split_once('-')) {
            Some(range) => range.expect("a range"),
            None => (word.as_str(), word.as_str()),
        };
        let number =
            |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("seed {seed}: {word}"));
        assert_eq!(number(from), next, "seed {seed}: {words:?}");
        next = number(to) + 1;
        let count = next - number(from);
        *(if word.starts_with("lost") { &mut lost } else { &mut delivered }) += count;
    }
    assert_eq!(next - 1, writer.sealer.last().0, "seed {seed}");
    let counts = reader.sequencer.counts();
    assert_eq!((counts.delivered, counts.lost), (delivered, lost), "seed {seed}");
    assert_eq!((counts.forks, counts.withheld), (0, 0), "seed {seed}");
    words
}
