//! End to end: the built programs as processes, a configuration folder of each test's own, real sockets.
//!
//! Nothing here sleeps to let something happen: every step waits for the line or the event that shows it,
//! with a time-out that fails and prints what was seen.

mod addresses;
mod bench;
mod chaos;
mod check;
mod cli;
mod commands;
mod consumer_cli;
mod consumer_kills;
mod consumer_live;
mod copies;
mod crash;
mod daemons;
mod everybody;
mod fleet;
mod full_disk;
mod harness;
mod herd;
mod hostile;
#[path = "../fedmsg/tests/independent/mod.rs"]
mod independent;
mod journal_cli;
mod kills;
mod options;
mod outbox;
mod outbox_table;
mod partitions;
mod publishing;
mod relay;
mod relay_log;
mod reload;
mod repair;
mod replay;
mod replayed;
mod restored;
mod soak;
mod storm;
mod stream_cli;
mod streams;
mod synced;
mod tail_many;
mod tail_past;
mod users;
mod zero;
