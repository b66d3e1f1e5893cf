//! The past while it is read: what is held back until it is over, and which streams have not been seen yet.

use fedmsg::event::Event;
use fedmsg::identity::StreamName;

use crate::newest::Newest;
use crate::past::{LAST_BYTES_MAX, Past};

/// The past while it is read.
#[derive(Debug)]
pub struct Reading {
    /// Whether the present follows.
    pub follows: bool,
    newest: Option<Newest>,
    /// Streams of `--from` of which nothing has come yet.
    awaited: Vec<StreamName>,
}

impl Reading {
    /// Nothing of it is read yet.
    pub fn new(past: &Past) -> Reading {
        let count = |last| usize::try_from(last).unwrap_or(usize::MAX);
        Reading {
            follows: past.follows,
            newest: past.last.map(|last| Newest::new(count(last), LAST_BYTES_MAX)),
            awaited: past.from.iter().map(|spot| spot.stream.clone()).collect(),
        }
    }

    /// Takes note of an event. `false`: it is of the present, and that was not asked for.
    pub fn takes(&mut self, event: &Event) -> bool {
        if !self.awaited.is_empty() && event.stream().is_some() {
            self.awaited.retain(|stream| Some(stream) != event.stream());
        }
        match event {
            Event::Message(message) => self.follows || message.replayed,
            _ => true,
        }
    }

    /// Where what is shown is kept until all of it was read; `None` when it is shown at once.
    pub fn newest(&mut self) -> Option<&mut Newest> {
        self.newest.as_mut()
    }

    /// Streams of `--from` of which nothing came.
    pub fn missing(&self) -> &[StreamName] {
        &self.awaited
    }
}
