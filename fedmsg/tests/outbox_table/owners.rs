//! Several processes on one table.

use fedmsg::outbox_table::{OutboxTable, Step};

use crate::world::{PATIENCE, World, flush, wait_for};

#[test]
fn one_publishes_and_another_takes_over_when_it_ends() {
    for world in World::all() {
        let mut application = world.application();
        let first = world.table();
        flush(&first);
        let second = world.table();
        application.insert(1);
        flush(&first);
        assert!(!second.metrics().is_owner);
        assert!(!second.flush(std::time::Duration::from_millis(1)), "that is the other's work");
        drop(first);
        application.insert(2);
        flush(&second);
        let streams: Vec<String> = world.kept().into_iter().map(|kept| kept.stream).collect();
        assert_eq!(streams, ["app.one/0", "app.one/1"]);
        assert_eq!(world.numbers(), [1, 2]);
        assert!(second.metrics().is_owner);
    }
}

#[test]
fn one_that_died_in_the_middle_is_followed_by_one_that_waited() {
    for world in World::all() {
        let mut application = world.application();
        let (first, second) = (world.publisher(), world.publisher());
        let builder = OutboxTable::builder(&world.address, first.clone());
        let builder = builder.after_each_step(|step| assert!(step != Step::Published, "a crash"));
        let dying = builder.start().expect("it starts");
        wait_for("the first owns it", || dying.metrics().is_owner);
        let waiting = world.table_of(&second);
        (1..=3).for_each(|n| application.insert(n));
        flush(&waiting);
        assert_eq!(world.numbers(), [1, 2, 3]);
        assert!(waiting.metrics().found > 0, "{waiting:?}");
        assert!(!dying.flush(PATIENCE), "it is dead");
    }
}

#[test]
fn eight_writers_and_three_owners_in_turn_publish_everything_once() {
    for world in World::all() {
        let publishers: Vec<_> = (0..3).map(|_| world.publisher()).collect();
        let is_sqlite = world.address.to_string().starts_with("sqlite");
        std::thread::scope(|scope| {
            for lane in 0..8 {
                let world = &world;
                scope.spawn(move || {
                    let mut application = world.application();
                    if is_sqlite {
                        application.run("PRAGMA busy_timeout = 20000");
                    }
                    for k in 0..25 {
                        application.run(if is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" });
                        application.insert(lane * 1_000 + 2 * k);
                        application.insert(lane * 1_000 + 2 * k + 1);
                        application.run(if k % 5 == 4 { "ROLLBACK" } else { "COMMIT" });
                    }
                });
            }
            for publisher in publishers.iter().cycle().take(6) {
                let table = world.table_of(publisher);
                table.flush(std::time::Duration::from_millis(50));
            }
        });
        let table = world.table_of(&publishers[0]);
        flush(&table);
        let numbers = world.numbers();
        let rolled_back = |n: u64| (n % 1_000) / 2 % 5 == 4;
        let mut expected: Vec<u64> = (0..8_000).filter(|n| n % 1_000 < 50).collect();
        expected.retain(|n| !rolled_back(*n));
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "each once, and nothing that was rolled back");
        // Within a stream, the rows of a writer are in its order.
        let kept = world.kept();
        for lane in 0..8 {
            for stream in ["app.one/0", "app.one/1", "app.one/2"] {
                let of = kept.iter().filter(|kept| kept.stream == stream);
                let n = of.filter_map(|kept| kept.envelope["msg"]["n"].as_u64());
                let lane: Vec<u64> = n.filter(|n| n / 1_000 == lane).collect();
                assert!(lane.is_sorted(), "{stream}: {lane:?}");
            }
        }
    }
}
