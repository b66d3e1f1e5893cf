//! The log of a relay against disks that fail in every way: crashes, errors, damage, readers beside the writer.
//!
//! `FEDMSG_LOG_SEEDS=200` tries so many seeds where a few are tried otherwise, and `FEDMSG_LOG_STRIDE=1` every
//! byte and length.

#[path = "../bus/mod.rs"]
mod bus;
#[path = "../independent/mod.rs"]
mod independent;

mod crash;
mod damage;
mod errors;
mod golden;
mod property;
mod retention;
mod usual;
mod world;
