//! What waits is published, in its order, once, and only when it is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedmsg::journal::Disk;
use fedmsg::outbox_table::{OutboxCounts, OutboxTable, OutboxTableError, Step};
use fedmsg::record::Level;
use fedmsg::testing::{DiskFault, FaultKind, MemoryDisk};

use crate::world::{World, flush, wait_for};

#[test]
fn committed_rows_are_published_in_order_and_removed() {
    for world in World::all() {
        let mut application = world.application();
        for first in [1, 201, 401] {
            application.run("BEGIN");
            (first..first + 200).for_each(|n| application.insert(n));
            application.run("COMMIT");
        }
        assert_eq!(world.rows().counts().expect("counts").waiting, 600);
        let table = world.table();
        flush(&table);
        assert_eq!(world.numbers(), (1..=600).collect::<Vec<_>>());
        let metrics = table.metrics();
        assert_eq!((metrics.published, metrics.failing, metrics.failures), (600, None, 0));
        assert!(metrics.is_owner);
        assert_eq!(world.rows().counts().expect("counts"), OutboxCounts::default());
        // And what is committed while it runs.
        application.insert(601);
        flush(&table);
        assert_eq!(world.numbers().last(), Some(&601));
    }
}

#[test]
fn a_message_has_what_its_row_has() {
    for world in World::all() {
        world.application().run(
            "INSERT INTO fedmsg_outbox (topic, body, headers, username, msg_id) VALUES
                ('org.example.dev.app.order.create', '{\"b\": 1, \"a\": [1.0, \"ü\"]}',
                 '{\"severity\": \"warning\", \"summary\": \"an order\"}', 'ann', 'order-17')",
        );
        flush(&world.table());
        let kept = world.kept().remove(0);
        assert_eq!(kept.topic, "org.example.dev.app.order.create");
        assert_eq!(kept.msg_id, "order-17");
        assert_eq!(kept.envelope["username"], "ann");
        assert_eq!(kept.envelope["headers"]["summary"], "an order");
        assert_eq!(kept.envelope["headers"]["severity"], "warning");
        let body = serde_json::to_string(&kept.envelope["msg"]).expect("JSON");
        assert_eq!(body, r#"{"a":[1.0,"ü"],"b":1}"#);
    }
}

#[test]
fn what_is_not_committed_is_not_published_and_what_is_rolled_back_never() {
    for world in World::all() {
        let (mut application, table) = (world.application(), world.table());
        application.run("BEGIN");
        application.insert(1);
        flush(&table);
        assert_eq!(world.numbers(), [0_u64; 0]);
        application.run("ROLLBACK");
        application.run("BEGIN");
        application.insert(2);
        flush(&table);
        application.run("COMMIT");
        flush(&table);
        assert_eq!(world.numbers(), [2]);
    }
}

#[test]
fn somebody_who_wakes_it_does_not_wait_for_the_next_look() {
    for world in World::all() {
        let builder = OutboxTable::builder(&world.address, world.publisher());
        let table = builder.poll_every(Duration::from_secs(3_600)).start().expect("it starts");
        flush(&table);
        world.application().insert(1);
        table.wake();
        wait_for("it is published", || world.numbers() == [1]);
    }
}

#[test]
fn nobody_has_to_wake_it() {
    for world in World::all() {
        let table = world.table();
        world.application().insert(1);
        wait_for("it is published", || world.numbers() == [1]);
        wait_for("it is counted", || table.metrics().published == 1);
    }
}

#[test]
fn large_rows_are_offered_in_batches_of_bounded_size() {
    for world in World::all() {
        let mut application = world.application();
        let pad = "x".repeat(900_000);
        for n in 1..=20 {
            application.insert_as("app.n", &format!("{{\"n\":{n},\"pad\":\"{pad}\"}}"));
        }
        let offers = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&offers);
        let builder = OutboxTable::builder(&world.address, world.publisher());
        let builder = builder.after_each_step(move |step| {
            count.fetch_add(u64::from(step == Step::Offered), Ordering::Relaxed);
        });
        flush(&builder.start().expect("it starts"));
        assert_eq!(world.numbers(), (1..=20).collect::<Vec<_>>());
        assert_eq!(offers.load(Ordering::Relaxed), 3, "nine of them have room in 8 MiB");
    }
}

#[test]
fn a_publisher_that_keeps_nothing_is_refused() {
    let world = World::sqlite();
    let publisher = world.publisher_at(Level::Memory);
    let refused = OutboxTable::start(&world.address, publisher).map(drop);
    assert!(matches!(refused, Err(OutboxTableError::NotKept)), "{refused:?}");
}

#[test]
fn what_waits_is_counted_and_its_age_is_known() {
    for world in World::all() {
        let owner = world.table();
        wait_for("somebody owns it", || owner.metrics().is_owner);
        let watch = world.table();
        world.application().run(
            "INSERT INTO fedmsg_outbox (topic, created, set_aside, set_aside_at) VALUES ('app.n', 7, 'why', 8)",
        );
        owner.close();
        drop(owner);
        wait_for("the row that is set aside is counted", || watch.metrics().set_aside == 1);
        watch.close();
        world
            .application()
            .run("INSERT INTO fedmsg_outbox (topic, created) VALUES ('app.n', 1790000000000)");
        let counts = world.rows().counts().expect("counts");
        assert_eq!((counts.waiting, counts.set_aside), (1, 1));
        assert_eq!(counts.oldest.map(|at| at.as_millis()), Some(1_790_000_000_000));
    }
}

#[test]
fn a_disk_that_takes_nothing_is_waited_for_and_nothing_is_lost_set_aside_or_out_of_order() {
    for world in World::all() {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let publisher = world.publisher_on(Arc::clone(&disk), Level::Local);
        let table = world.table_of(&publisher);
        let mut application = world.application();
        application.insert(1);
        flush(&table);
        let call = memory.calls();
        memory.fail(Some(DiskFault { call, kind: FaultKind::Full, for_ever: true }));
        (2..=4).for_each(|n| application.insert(n));
        wait_for("it says so", || {
            table.metrics().failing.is_some_and(|why| why.contains("not stored"))
        });
        application.insert(5);
        memory.fail(None);
        flush(&table);
        assert_eq!(world.numbers_on(&disk), [1, 2, 3, 4, 5]);
        let metrics = table.metrics();
        assert_eq!((metrics.refused, metrics.published, metrics.failing), (0, 5, None));
        assert!(metrics.failures > 0);
    }
}

#[test]
fn rows_wait_for_another_publisher_when_theirs_is_closed() {
    for world in World::all() {
        let publisher = world.publisher();
        let table = world.table_of(&publisher);
        flush(&table);
        publisher.close();
        world.application().insert(1);
        wait_for("it says so", || {
            table.metrics().failing.is_some_and(|why| why.contains("closed"))
        });
        drop((table, publisher));
        flush(&world.table());
        assert_eq!(world.numbers(), [1]);
    }
}
