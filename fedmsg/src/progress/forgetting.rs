//! Cursors of streams that have ended: they would fill the store in the end.

use super::Progress;
use crate::consumer::Position;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

impl Progress {
    /// Streams of which nothing was heard in this life, and whose cursors were moved before this time, the longest
    /// unmoved first.
    pub fn silent(&self, unmoved_since: Timestamp) -> Vec<StreamName> {
        let tracks = self.by_name.values().map(|at| &self.tracks[*at]);
        let moved = tracks.filter_map(|track| Some((track.silent_since()?, track.name())));
        let mut silent: Vec<_> = moved.filter(|(moved, _)| *moved < unmoved_since).collect();
        silent.sort_unstable();
        silent.into_iter().map(|(_, stream)| stream.clone()).collect()
    }

    /// The store has forgotten these cursors; where they were. The cursor of a stream that was heard in the
    /// meantime is written again. Those for which there was no room are tried again.
    pub fn forgotten(&mut self, streams: &[StreamName]) -> Vec<Position> {
        let mut positions = Vec::new();
        for stream in streams {
            let Some(at) = self.by_name.get(stream).copied() else { continue };
            let track = &mut self.tracks[at];
            if track.silent_since().is_none() {
                track.not_stored();
                self.dirty.insert(at);
                continue;
            }
            positions.extend(track.in_store());
            self.by_name.remove(stream);
            self.untold.remove(&at);
            self.free.push(at);
        }
        if !streams.is_empty() {
            let without = self.by_name.values().filter(|at| self.tracks[**at].try_cursor());
            self.dirty.extend(without.copied().collect::<Vec<_>>());
        }
        self.counts.forgotten += positions.len() as u64;
        positions
    }

    /// Whether there was no room in the store for the cursor of a stream.
    pub fn lacks_room(&self) -> bool {
        self.by_name.values().any(|at| self.tracks[*at].has_no_cursor())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scene, at, epoch, place, stream};
    use super::*;
    use crate::consumer::{Bounds, Start};
    use crate::sequence::Begin;
    use crate::testing::MemoryStore;

    /// A consumer that did one message of each of these streams, and began anew later.
    fn began_anew(store: MemoryStore, streams: std::ops::Range<u16>) -> Scene {
        let mut scene = Scene::on(store, Start::New);
        for of in streams {
            scene.now += 1_000;
            let ticket = scene.give(of, 1);
            scene.progress.acked(ticket);
            assert!(scene.write(9));
        }
        scene.crash()
    }

    fn silent(scene: &Scene, since: i64) -> Vec<StreamName> {
        scene.progress.silent(at(since))
    }

    #[test]
    fn silent_streams_are_forgotten_the_oldest_first() {
        let mut scene = began_anew(MemoryStore::new(), 0..4);
        assert_eq!(silent(&scene, 4_000), [stream(0), stream(1), stream(2)], "before that time");
        assert_eq!(silent(&scene, 9_000), [stream(0), stream(1), stream(2), stream(3)]);
        // Of these something was heard: a heartbeat, a message.
        scene.progress.head(&stream(1), epoch(1), 1);
        let ticket = scene.give(2, 2);
        assert_eq!(silent(&scene, 9_000), [stream(0), stream(3)]);
        let gone = scene.forget(9_000, &silent(&scene, 9_000));
        assert_eq!(gone.iter().map(|at| &at.stream).collect::<Vec<_>>(), [&stream(0), &stream(3)]);
        assert_eq!(scene.progress.counts().forgotten, 2);
        scene.progress.acked(ticket);
        assert!(scene.write(9));
        assert_eq!(scene.cursors(), "1:1 2:2");
        assert_eq!(scene.progress.begin(&stream(0)), Begin::Since(at(0)), "as if it were new");
        assert!(matches!(scene.progress.begin(&stream(1)), Begin::At { next: 2, .. }));
    }

    #[test]
    fn one_that_is_heard_while_it_is_forgotten_is_written_again() {
        let mut scene = began_anew(MemoryStore::new(), 0..2);
        let streams = silent(&scene, 9_000);
        scene.progress.head(&stream(1), epoch(1), 1);
        let gone = scene.forget(9_000, &streams);
        assert_eq!(gone.len(), 1);
        assert!(scene.write(9));
        assert_eq!(scene.cursors(), "1:1");
        assert_eq!(scene.crash().progress.lags().count(), 0);
    }

    #[test]
    fn where_there_was_no_room_there_is_some_afterwards() {
        let bounds = Bounds { streams: 2, ..Bounds::default() };
        let store = MemoryStore::new().with_bounds(bounds);
        let mut scene = began_anew(store, 0..2);
        let ticket = scene.progress.message(&stream(7), &place(epoch(1), 1), Some(1));
        scene.progress.acked(ticket.expect("handed out"));
        scene.write_without_room();
        assert!(scene.progress.lacks_room() && scene.cursors() == "0:1 1:1");
        let streams = silent(&scene, 9_000);
        assert_eq!(scene.forget(9_000, &streams[..1]).len(), 1);
        assert!(!scene.progress.lacks_room() && scene.write(9));
        assert_eq!(scene.cursors(), "1:1 7:1");
    }
}
