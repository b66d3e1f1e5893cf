//! End to end: the built programs as processes, a configuration folder of each test's own, real sockets.
//!
//! Nothing here sleeps to let something happen: every step waits for the line or the event that shows it,
//! with a time-out that fails and prints what was seen.

mod addresses;
mod bench;
mod chaos;
mod cli;
mod commands;
mod consumer_cli;
mod consumer_kills;
mod consumer_live;
mod crash;
mod daemons;
