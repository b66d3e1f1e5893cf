//! A crash after each step, and whoever comes next.

use fedmsg::outbox_table::Step;

use crate::world::{World, flush};

const STEPS: [Step; 3] = [Step::Offered, Step::Published, Step::Settled];

#[test]
fn a_process_that_died_after_any_step_is_followed_by_one_of_the_same_stream_and_nothing_comes_twice()
 {
    for step in STEPS {
        for world in World::all() {
            let mut application = world.application();
            (1..=5).for_each(|n| application.insert(n));
            let publisher = world.publisher();
            world.crash_after(&publisher, step);
            drop(publisher);
            application.insert(6);
            let table = world.table();
            flush(&table);
            assert_eq!(world.numbers(), [1, 2, 3, 4, 5, 6], "{step:?}");
            let found = if step == Step::Published { 5 } else { 0 };
            let metrics = table.metrics();
            assert_eq!((metrics.found, metrics.doubtful), (found, 0), "{step:?}");
            assert_eq!(world.rows().counts().expect("counts").waiting, 0);
        }
    }
}

#[test]
fn one_of_another_stream_of_the_host_finds_what_was_published_in_the_journal_of_the_first() {
    for step in STEPS {
        for world in World::all() {
            let mut application = world.application();
            (1..=5).for_each(|n| application.insert(n));
            let (first, second) = (world.publisher(), world.publisher());
            world.crash_after(&first, step);
            application.insert(6);
            let table = world.table_of(&second);
            flush(&table);
            let mut numbers = world.numbers();
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 2, 3, 4, 5, 6], "{step:?}");
            let at =
                |stream: &str| world.kept().iter().filter(|kept| kept.stream == stream).count();
            let expected = if step == Step::Offered { (0, 6) } else { (5, 1) };
            assert_eq!((at("app.one/0"), at("app.one/1")), expected, "{step:?}");
            assert_eq!(table.metrics().doubtful, 0);
        }
    }
}

#[test]
fn what_a_stream_of_another_host_was_offered_is_published_again_and_that_is_counted() {
    for world in World::all() {
        let mut application = world.application();
        application.run(
            "INSERT INTO fedmsg_outbox (topic, body, offered_to, offered_at)
                VALUES ('app.n', '{\"n\":1}', 'app.far/0', 1), ('app.n', '{\"n\":2}', '../..', NULL)",
        );
        let table = world.table();
        flush(&table);
        assert_eq!(world.numbers(), [1, 2]);
        assert_eq!(table.metrics().doubtful, 2);
    }
}

#[test]
fn another_message_of_the_same_identifier_is_not_taken_for_the_row() {
    for world in World::all() {
        let (first, second) = (world.publisher(), world.publisher());
        let insert = |n: u64| {
            world.application().run(&format!(
                "INSERT INTO fedmsg_outbox (topic, body, msg_id) VALUES ('app.n', '{{\"n\":{n}}}', 'one')"
            ));
        };
        insert(1);
        let table = world.table_of(&first);
        flush(&table);
        drop(table);
        insert(2);
        world.crash_after(&first, Step::Offered);
        let table = world.table_of(&second);
        flush(&table);
        assert_eq!(world.numbers(), [1, 2]);
        assert_eq!(table.metrics().found, 0);
    }
}
