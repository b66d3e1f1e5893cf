//! Answering replay requests from the journals of a state folder.
//!
//! A [`Shelf`] finds the journals: those that this process writes ([`Shelf::live`]), those that other
//! processes write, and those of processes that are gone. A [`ReplayServer`] is a thread with a socket that
//! answers from what it is given, such as a [`Desk`] with these journals, by the rules of a
//! [`Holder`](crate::holder::Holder).
//!
//! Below the state folder, `streams/<identity>/<slot>/journal` is the journal of a stream, `heartbeat` beside it
//! its newest heartbeat, as it was signed, and `floors` how far named consumers are, as they said.

mod desk;
mod floors;
mod heads;
mod heartbeat;
mod server;
mod shelf;
mod small_file;
mod turns;

pub use desk::Desk;
pub use heartbeat::{SaveError, load_heartbeat, save_heartbeat};
pub use server::ReplayServer;
pub use shelf::{Live, Shelf};
