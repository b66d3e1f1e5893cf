//! Streams as a reader follows them: scenarios, and one property over all of them.

#[path = "../bus/mod.rs"]
mod bus;
mod contradictions;
mod epochs;
mod holes;
#[path = "../independent/mod.rs"]
mod independent;
mod joining;
mod property;
mod room;
mod steps;
