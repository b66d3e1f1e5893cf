//! The pure hot paths, one core, messages of 1 KB: `cargo bench -p fedmsg`. What a whole bus does is measured
//! by `fedmsg bench`.

#[path = "../tests/bus/mod.rs"]
mod bus;
#[path = "../tests/frame_samples/mod.rs"]
mod frame_samples;
#[path = "../tests/independent/mod.rs"]
mod independent;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fedmsg::envelope::Wire;
use fedmsg::event::Message;
use fedmsg::frames::{Answer, Request};
use fedmsg::limits::TREE_LEAVES_MAX;
use fedmsg::open::Opener;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::seal::{Checked, Sealed, check};
use fedmsg::sequence::Sequencer;
use fedmsg::topic::Naming;
use fedmsg::{Draft, Pattern};

const STREAM: &str = "bodhi.backend01/0";
const SERVICE: &str = "bodhi.backend01";
/// What waits in a reader that has a backlog.
const BACKLOG: usize = 1_024;

/// Gives a new draft at each call, checked as before sealing.
fn source() -> impl FnMut() -> Checked {
    let body = serde_json::json!({"update": "kernel-6.1", "text": "x".repeat(960)});
    let (identity, trust) = (bus::identity(SERVICE), bus::trust());
    move || {
        let draft = Draft::new("bodhi.update.comment").body(&body);
        check(draft, &identity, &trust, || "2026-bench".into()).expect("a draft")
    }
}

fn drafts(count: usize) -> Vec<Checked> {
    std::iter::repeat_with(source()).take(count).collect()
}

/// Messages sealed in trees of this size.
fn wires(count: usize, tree: usize) -> Vec<Wire> {
    let mut sealer = bus::sealer(STREAM, 1);
    let drafts = drafts(count);
    let sealed: Vec<Sealed> =
        drafts.chunks(tree).flat_map(|drafts| sealer.seal(drafts, bus::NOW)).collect();
    sealed.into_iter().map(|sealed| sealed.wire).collect()
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for count in [1, TREE_LEAVES_MAX] {
        let (mut sealer, drafts) = (bus::sealer(STREAM, 1), drafts(count));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("tree of {count}"), |bencher| {
            bencher.iter(|| sealer.seal(black_box(&drafts), bus::NOW));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("check a draft", |bencher| bencher.iter(source()));
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    // A fresh opener remembers no root, as after 8,192 others.
    let opener = || Opener::new(bus::trust());
    let alone = wires(1, 1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("one message, alone", |bencher| {
        let open = |mut opener: Opener| opener.open(&alone[0]).expect("a good one");
        bencher.iter_batched(opener, open, BatchSize::SmallInput);
    });
    group.throughput(Throughput::Elements(BACKLOG as u64));
    for tree in [1, TREE_LEAVES_MAX] {
        let wires = wires(BACKLOG, tree);
        group.bench_function(format!("a backlog, trees of {tree}"), |bencher| {
            let open = |mut opener: Opener| opener.open_run(&wires);
            bencher.iter_batched(opener, open, BatchSize::SmallInput);
        });
        group.bench_function(format!("one by one, trees of {tree}"), |bencher| {
            let open = |mut opener: Opener| {
                wires.iter().for_each(|wire| drop(black_box(opener.open(wire).expect("good"))));
            };
            bencher.iter_batched(opener, open, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn sequencing(criterion: &mut Criterion) {
    let mut opener = Opener::new(bus::trust());
    let run = opener.open_run(&wires(BACKLOG, TREE_LEAVES_MAX));
    let message = |opened| Message::new(opened, bus::identity(SERVICE), bus::NOW);
    let messages: Vec<Message> =
        run.into_iter().map(|opened| message(opened.expect("a good one"))).collect();
    let mut group = criterion.benchmark_group("sequence");
    group.throughput(Throughput::Elements(BACKLOG as u64));
    group.bench_function("in order", |bencher| {
        let take = |messages: Vec<Message>| {
            let mut sequencer = Sequencer::default();
            messages.into_iter().for_each(|message| sequencer.take(message, 0));
            sequencer.drain().count()
        };
        bencher.iter_batched(|| messages.clone(), take, BatchSize::LargeInput);
    });
    group.finish();
}

fn deciding(criterion: &mut Criterion) {
    let naming = Naming::new("org.example", "prod").expect("names");
    let (own, identity) = (["{prefix}.{env}.{service}.>"], bus::identity(SERVICE));
    let rule =
        |action, subject| Rule::new(action, subject, &own, &naming, "bench").expect("a rule");
    // One line for all, and sixty exceptions, as a large infrastructure has.
    let mut rules = vec![rule(Action::Publish, Subject::Service(None))];
    for n in 0..60 {
        let subject = Subject::service(&format!("service{n}")).expect("a subject");
        rules.push(rule(Action::Deny, subject));
    }
    let policy = Policy::new(rules);
    let pattern = Pattern::subscription("org.example.*.bodhi.>").expect("a pattern");
    let mut group = criterion.benchmark_group("decide");
    group.bench_function("policy of 61 rules", |bencher| {
        bencher.iter(|| policy.may_publish(&identity, black_box(bus::TOPIC)).allowed);
    });
    group.bench_function("one pattern", |bencher| {
        bencher.iter(|| pattern.matches(black_box(bus::TOPIC)));
    });
    group.finish();
}

fn framing(criterion: &mut Criterion) {
    let requests: Vec<_> =
        frame_samples::requests().into_iter().map(|(_, request)| request.encode()).collect();
    let answers: Vec<_> =
        frame_samples::answers().into_iter().map(|(_, answer)| answer.encode()).collect();
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(requests.len() as u64));
    group.bench_function("requests, read and written again", |bencher| {
        let again = |frames: &Vec<_>| Request::parse(frames).expect("a request").encode();
        bencher.iter(|| requests.iter().map(again).map(|frames| frames.len()).sum::<usize>());
    });
    group.throughput(Throughput::Elements(answers.len() as u64));
    group.bench_function("answers, read and written again", |bencher| {
        let again = |frames: &Vec<_>| Answer::parse(frames).expect("an answer").encode();
        bencher.iter(|| answers.iter().map(again).map(|frames| frames.len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(pure, sealing, opening, sequencing, deciding, framing);
criterion_main!(pure);
