//! Whatever is lost on the way, and whoever is down, silent or lying meanwhile: once things are well, every
//! message was handed on once, in order, or is named as lost where nobody has it.

use std::collections::BTreeMap;

use fastrand::Rng;
use fedmsg::envelope::Epoch;
use fedmsg::event::Event;
use fedmsg::merkle::Leaf;
use fedmsg::record::After;

use crate::world::{Mode, World, Writer, epoch};

const MODES: [Mode; 7] =
    [Mode::Up, Mode::Down, Mode::Silent, Mode::Torn, Mode::Hiding, Mode::Forging, Mode::Shuffling];

#[test]
fn everything_is_handed_on_once_in_order_or_nobody_has_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let from = number("FEDMSG_RECEPTION_FROM").unwrap_or(0);
    for seed in from..from + number("FEDMSG_RECEPTION_SEEDS").unwrap_or(200) {
        check(seed);
    }
}

/// One history.
fn check(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let (mut writer, genesis) = Writer::new();
    let mut world = World::new(random.usize(1..=3));
    world.keep([&genesis], 1);
    world.arrive([&writer.beat(0), &genesis]);
    let (lose, mut n) = (random.f64() * 0.6, 1);
    // What was published, and what every holder has lost since.
    let (mut published, mut gone) = (BTreeMap::<Epoch, u64>::new(), Vec::new());
    published.insert(epoch(1), 0);
    let mut on_the_way = Vec::new();
    for step in 0..random.usize(5..60) {
        let time = (world.now - 1_000) as i64;
        match random.u8(0..20) {
            0 | 1 if n < 6 => {
                n += 1;
                let (next, genesis) = match random.u8(0..3) {
                    0 => Writer::open_at(n, (After::Unknown, Leaf::NONE), time),
                    _ => writer.next_at(n, time),
                };
                writer = next;
                published.insert(epoch(n), 0);
                world.keep([&genesis], n);
                on_the_way.push(genesis);
            }
            2 => {
                let at = random.usize(0..world.hosts.len());
                world.hosts[at].mode = MODES[random.usize(0..MODES.len())];
            }
            3 if published[&epoch(n)] > 3 && random.bool() => {
                let i = random.u64(1..published[&epoch(n)]);
                gone.push((epoch(n), i));
                for host in &mut world.hosts {
                    if let Some(records) = host.shelf.epochs.get_mut(&epoch(n)) {
                        records.remove(&i);
                    }
                }
            }
            4 => on_the_way.push(writer.beat(time)),
            _ => {
                let sealed = writer.seal_at(random.usize(0..30), time);
                world.keep(&sealed, n);
                *published.get_mut(&epoch(n)).expect("begun") += sealed.len() as u64;
                on_the_way.extend(sealed);
            }
        }
        if step % 3 == 0 {
            on_the_way.retain(|_| random.f64() >= lose);
            if random.u8(0..4) == 0 {
                random.shuffle(&mut on_the_way);
            }
            world.arrive(&std::mem::take(&mut on_the_way));
        }
        world.pass(random.u64(0..400));
    }
    for host in &mut world.hosts {
        host.mode = Mode::Up;
    }
    // A lying holder is left alone for a minute; then things are well.
    for _ in 0..40 {
        let time = (world.now - 1_000) as i64;
        let beat = writer.beat(time);
        world.arrive([&beat]);
        world.pass(5_000);
    }
    verify(seed, &world, &published, &gone);
}

fn verify(seed: u64, world: &World, published: &BTreeMap<Epoch, u64>, gone: &[(Epoch, u64)]) {
    let mut at: Option<(Epoch, u64)> = None;
    for event in &world.log {
        let (epoch, from, to) = match event {
            Event::Message(message) => (message.epoch(), message.i(), message.i()),
            Event::Lost(lost) => {
                for i in lost.from..=lost.to {
                    let is_gone = gone.contains(&(lost.epoch, i));
                    assert!(is_gone, "seed {seed}: {lost}");
                }
                (lost.epoch, lost.from, lost.to)
            }
            Event::Fork(fork) => panic!("seed {seed}: {fork}"),
            _ => continue,
        };
        let expected = match at {
            Some((current, i)) if current == epoch => i + 1,
            Some((current, i)) => {
                assert!(epoch > current, "seed {seed}: back to {epoch}");
                assert_eq!(i, published[&current], "seed {seed}: the end of {current}");
                1
            }
            None => 1,
        };
        assert_eq!(from, expected, "seed {seed}: {event:?}");
        at = Some((epoch, to));
    }
    let (last, count) = published.iter().next_back().expect("an epoch");
    // The last epochs may be empty.
    let end = at.filter(|(epoch, _)| epoch == last).map_or(0, |(_, i)| i);
    assert_eq!(end, *count, "seed {seed}: the end; {:?}", world.reception);
}
