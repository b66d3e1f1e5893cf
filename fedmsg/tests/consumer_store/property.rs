//! Whatever is asked in whatever order: every store answers what the model answers, and holds the same.

use fedmsg::consumer::{
    Advance, Bounds, Curable, CursorStore, Failure, Fence, LetterFilter, Page, Position,
    RefusalFilter, Refused, Start,
};
use fedmsg::testing::MemoryStore;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixtures::{at, epoch, failure, leaf, name, refused, stream};
use crate::places::Place;

/// Few names, streams and numbers, so that calls meet.
#[derive(Clone, Debug)]
enum Call {
    Claim(usize, usize),
    Renew(usize),
    Release(usize),
    Advance(usize, Vec<(u16, u128, u64, bool)>),
    Forget(usize, Vec<u16>, i64),
    Refuse(usize, Vec<(u16, u64, bool)>),
    Cured(usize, Vec<(u16, u64)>),
    Failed(usize, (u16, u64), usize, i64),
    Succeeded(usize, Vec<(u16, u64)>),
    Dead(usize, (u16, u64), usize),
    Retry(usize, Vec<u64>),
    Discard(usize, Vec<u64>),
    Seek(usize, u16, u128, u64),
    Skip(usize, u16, u64),
    Delete(usize),
    Evict(usize),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const LEASE_MS: u64 = 30;

fn calls() -> impl Strategy<Value = Vec<(i64, Call)>> {
    let (who, fence, of, i) = (0..NAMES.len(), 0..3_usize, 0..3_u16, 0..5_u64);
    let at = (of.clone(), i.clone());
    let ids = prop::collection::vec(1..6_u64, 0..3);
    let cursor = (of.clone(), 1..3_u128, i.clone(), any::<bool>());
    let ats = prop::collection::vec(at.clone(), 0..3);
    let refusal = (of.clone(), i.clone(), any::<bool>());
    let call = prop_oneof![
        4 => (who.clone(), 0..2_usize).prop_map(|(who, owner)| Call::Claim(who, owner)),
        1 => fence.clone().prop_map(Call::Renew),
        1 => fence.clone().prop_map(Call::Release),
        4 => (fence.clone(), prop::collection::vec(cursor, 0..4)).prop_map(|(f, c)| Call::Advance(f, c)),
        1 => (fence.clone(), prop::collection::vec(of.clone(), 0..3), 0..60_i64)
            .prop_map(|(f, streams, ago)| Call::Forget(f, streams, ago)),
        3 => (fence.clone(), prop::collection::vec(refusal, 0..4)).prop_map(|(f, r)| Call::Refuse(f, r)),
        1 => (fence.clone(), ats.clone()).prop_map(|(f, p)| Call::Cured(f, p)),
        3 => (fence.clone(), at.clone(), 0..30_usize, 0..40_i64)
            .prop_map(|(f, p, bytes, wait)| Call::Failed(f, p, bytes, wait)),
        1 => (fence.clone(), ats).prop_map(|(f, p)| Call::Succeeded(f, p)),
        3 => (fence, at, 0..30_usize).prop_map(|(f, p, bytes)| Call::Dead(f, p, bytes)),
        2 => (who.clone(), ids.clone()).prop_map(|(who, ids)| Call::Retry(who, ids)),
        1 => (who.clone(), ids).prop_map(|(who, ids)| Call::Discard(who, ids)),
        1 => (who.clone(), of.clone(), 1..3_u128, i.clone())
            .prop_map(|(who, of, epoch, i)| Call::Seek(who, of, epoch, i)),
        1 => (who.clone(), of, i).prop_map(|(who, of, count)| Call::Skip(who, of, count)),
        1 => who.clone().prop_map(Call::Delete),
        1 => who.prop_map(Call::Evict),
    ];
    prop::collection::vec((0..12_i64, call), 1..60)
}

fn bounds() -> Bounds {
    let mut bounds = Bounds::default();
    (bounds.consumers, bounds.streams) = (2, 2);
    (bounds.refusals, bounds.refusals_of_stream) = (4, 2);
    (bounds.retries, bounds.retry_bytes) = (2, 40);
    (bounds.letters, bounds.letter_bytes) = (2, 40);
    bounds
}

fn place_of((of, i): (u16, u64)) -> Position {
    Position { stream: stream(of), epoch: epoch(1), i }
}

fn failed(at: (u16, u64), bytes: usize) -> Failure {
    Failure { attempts: u32::try_from(bytes).expect("few"), ..failure(at.0, at.1, bytes) }
}

/// Asks one store, and says in words what it answered.
fn ask(store: &mut dyn CursorStore, call: &Call, fences: &mut Vec<Fence>, now: i64) -> String {
    let now = at(now);
    let fence = |which: &usize| fences.iter().rev().nth(*which).cloned();
    let (Call::Renew(f)
    | Call::Release(f)
    | Call::Advance(f, _)
    | Call::Forget(f, ..)
    | Call::Refuse(f, _)
    | Call::Cured(f, _)
    | Call::Failed(f, ..)
    | Call::Succeeded(f, _)
    | Call::Dead(f, ..)) = call
    else {
        return ask_by_name(store, call, fences, now);
    };
    let Some(fence) = fence(f) else {
        return String::new();
    };
    match call {
        Call::Renew(_) => format!("{:?}", store.renew(&fence, now)),
        Call::Release(_) => format!("{:?}", store.release(&fence)),
        Call::Advance(_, cursors) => {
            let to = cursors.iter().map(|(of, number, i, known)| Advance {
                position: Position { stream: stream(*of), epoch: epoch(*number), i: *i },
                leaf: known.then(|| leaf(1)),
            });
            format!("{:?}", store.advance(&fence, &to.collect::<Vec<_>>(), now))
        }
        Call::Forget(_, streams, ago) => {
            let streams: Vec<_> = streams.iter().copied().map(stream).collect();
            format!("{:?}", store.forget(&fence, &streams, at(now.millis_since(at(0)) - ago)))
        }
        Call::Refuse(_, positions) => {
            let all = positions.iter().map(|(of, i, rule)| Refused {
                reason: if *rule { Curable::NoRule } else { Curable::UnknownKey },
                leaf: rule.then(|| leaf(2)),
                ..refused(*of, *i)
            });
            format!("{:?}", store.refuse(&fence, &all.collect::<Vec<_>>(), now))
        }
        Call::Cured(_, at) => {
            format!(
                "{:?}",
                store.cured(&fence, &at.iter().copied().map(place_of).collect::<Vec<_>>())
            )
        }
        Call::Failed(_, position, bytes, wait) => {
            let next_at = at(now.millis_since(at(0)) + wait);
            format!("{:?}", store.failed(&fence, &failed(*position, *bytes), next_at, now))
        }
        Call::Succeeded(_, at) => {
            let positions: Vec<_> = at.iter().copied().map(place_of).collect();
            format!("{:?}", store.succeeded(&fence, &positions))
        }
        Call::Dead(_, position, bytes) => {
            format!("{:?}", store.dead(&fence, &failed(*position, *bytes), now))
        }
        _ => unreachable!("asked by name"),
    }
}

fn ask_by_name(
    store: &mut dyn CursorStore,
    call: &Call,
    fences: &mut Vec<Fence>,
    now: fedmsg::timestamp::Timestamp,
) -> String {
    match call {
        Call::Claim(who, owner) => {
            let owner = format!("host{owner}");
            let claimed = store.claim(&name(NAMES[*who]), &owner, Start::New, now, LEASE_MS);
            fences.extend(claimed.as_ref().ok().map(|claimed| claimed.fence.clone()));
            format!("{claimed:?}")
        }
        Call::Retry(who, ids) => format!("{:?}", store.retry(&name(NAMES[*who]), ids, now)),
        Call::Discard(who, ids) => format!("{:?}", store.discard(&name(NAMES[*who]), ids)),
        Call::Seek(who, of, number, i) => {
            format!("{:?}", store.seek(&name(NAMES[*who]), &stream(*of), epoch(*number), *i, now))
        }
        Call::Skip(who, of, count) => {
            format!("{:?}", store.skip(&name(NAMES[*who]), &stream(*of), *count, now))
        }
        Call::Delete(who) => format!("{:?}", store.delete(&name(NAMES[*who]), now)),
        Call::Evict(who) => format!("{:?}", store.evict(&name(NAMES[*who]))),
        _ => unreachable!("asked with a fence"),
    }
}

/// Everything that a store shows.
fn contents(store: &mut dyn CursorStore, now: i64) -> String {
    let page = Page { after: 0, limit: 100 };
    let of = |text: &&str| {
        let name = name(text);
        format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n",
            store.load(&name),
            store.refusals(&name, &RefusalFilter::default()),
            store.due(&name, at(now)),
            store.dead_letters(&name, &LetterFilter::default(), page),
        )
    };
    let each: String = NAMES.iter().map(of).collect();
    format!("{each}{:?}", store.consumers())
}

pub fn random_calls_do_what_the_model_does(place: &Place) {
    let cases = std::env::var("FEDMSG_TEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(24), failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&calls(), |calls| {
        let mut store = place.open_with(bounds());
        empty(&mut *store);
        // Where a store is used again, its fences have grown: the model begins with as many.
        let mut model: Box<dyn CursorStore> = Box::new(MemoryStore::new().with_bounds(bounds()));
        catch_up(&mut *model, &mut *store);
        let (mut fences, mut model_fences) = (Vec::new(), Vec::new());
        let mut now = 0;
        for (step, (later, call)) in calls.iter().enumerate() {
            now += later;
            let answer = ask(&mut *store, call, &mut fences, now);
            let expected = ask(&mut *model, call, &mut model_fences, now);
            prop_assert_eq!(answer, expected, "the answer of step {}: {:?}", step, call);
            let held = contents(&mut *store, now);
            let expected = contents(&mut *model, now);
            prop_assert_eq!(held, expected, "what is held after step {}: {:?}", step, call);
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

fn empty(store: &mut dyn CursorStore) {
    for consumer in store.consumers().expect("consumers") {
        store.evict(&consumer.consumer).expect("evicted");
        store.delete(&consumer.consumer, at(0)).expect("deleted");
    }
}

fn catch_up(model: &mut dyn CursorStore, store: &mut dyn CursorStore) {
    let next = |store: &mut dyn CursorStore| {
        let claimed = store.claim(&name("a"), "host", Start::New, at(0), 1).expect("claimed");
        claimed.fence.number()
    };
    let number = next(store);
    while next(model) < number {}
    empty(store);
    empty(model);
}
