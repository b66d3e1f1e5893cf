//! The journal against disks that fail in every way: crashes, errors, damage, readers beside the writer.
//!
//! `FEDMSG_JOURNAL_SEEDS=200` tries so many seeds where a few are tried otherwise.

#[path = "../bus/mod.rs"]
mod bus;
#[path = "../independent/mod.rs"]
mod independent;

mod archive;
mod beside;
mod crash;
mod damage;
mod errors;
mod golden;
mod story;
mod usual;
