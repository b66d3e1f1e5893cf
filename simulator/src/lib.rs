//! A whole bus in one thread, from one seed: publishers, their journals on disks that fail, holders, readers,
//! and a network that loses, delays, doubles and cuts. Time is virtual, and everything that is left to chance
//! comes from the seed, so that a run can be repeated exactly.
//!
//! What is tried is the library's own code: the order in which a publisher stores, shows and answers
//! ([`Core`](fedmsg::publisher::core::Core)), the [`Journal`](fedmsg::journal::Journal) and its readers, the
//! [`Holder`](fedmsg::holder::Holder), and all that a reader does with what it receives
//! ([`Reception`](fedmsg::reception::Reception)). Only threads, sockets and clocks are left out.
//!
//! A checker knows every message that was acknowledged and sees everything that readers are told. A run is
//! wrong when a number is used for two records; when something that was acknowledged is neither delivered nor
//! honestly said to be lost within a time after everything was mended; when something comes out of order,
//! twice in one life of a consumer, or not linked to what came before; when something is said to be lost that
//! can be read on a disk; and when something is delivered that nobody sealed.
//!
//! The layout: [`plan`] is what a seed decides in advance, [`world`] lets it happen, to [`worker`]s and
//! [`reader`]s that [`network`] connects, and [`checker`] judges. [`cast`] names those who take part.
#![allow(missing_docs, reason = "a program, not a library for others")]

pub mod cast;
pub mod checker;
pub mod consumer;
pub mod counts;
pub mod network;
pub mod plan;
pub mod reader;
pub mod relay;
pub mod trace;
pub mod worker;
pub mod world;

pub use counts::Counts;
pub use world::Outcome;

/// Runs one seed; writes what happens to stdout where that is wanted. A panic is a violation, too.
pub fn run(seed: u64, prints: bool) -> Outcome {
    let run = || {
        let plan = plan::Plan::of(seed);
        let mut trace = trace::Trace::new(prints);
        trace.note(0, &[], || format!("{plan:#?}"));
        world::World::new(plan, trace).run()
    };
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("something else");
        let violation = Some(format!("it panicked: {text}"));
        Outcome { violation, counts: Counts::default(), trace: 0, took: 0 }
    })
}
