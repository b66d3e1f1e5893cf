//! A reader that fetches what it lacks, and holders that have it, lose it, keep silent and lie.

#[path = "../bus/mod.rs"]
mod bus;
mod copies;
mod epochs;
mod history;
mod holders;
#[path = "../independent/mod.rs"]
mod independent;
mod property;
mod repair;
mod world;
