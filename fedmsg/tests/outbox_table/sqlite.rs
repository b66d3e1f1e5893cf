//! What can be the matter with a file.

use std::fs;

use fedmsg::consumer::StoreAddress;
use fedmsg::outbox_table::{OutboxRows, OutboxTableError, SQLITE_SCHEMA};

use crate::world::{World, flush, wait_for};

#[test]
fn a_file_that_is_not_there_is_not_made() {
    let world = World::sqlite();
    let address = StoreAddress::Sqlite(world.path("wrong.db"));
    let refused = OutboxRows::open(&address).map(drop);
    assert!(matches!(refused, Err(OutboxTableError::NoDatabase(_))), "{refused:?}");
    assert!(!world.path("wrong.db").exists());
}

#[test]
fn a_table_that_the_application_made_is_used_and_a_newer_one_is_left_alone() {
    let world = World::sqlite();
    let path = world.path("other.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection.execute_batch(SQLITE_SCHEMA).expect("made");
    let address = StoreAddress::Sqlite(path);
    OutboxRows::open(&address).expect("it fits");
    connection.execute_batch("UPDATE fedmsg_outbox_version SET version = 2").expect("set");
    let refused = OutboxRows::open(&address).map(drop);
    assert!(
        matches!(refused, Err(OutboxTableError::Newer { found: 2, known: 1, .. })),
        "{refused:?}"
    );
}

#[test]
fn values_of_any_type_concern_their_own_row_alone() {
    let world = World::sqlite();
    world.application().run(
        "INSERT INTO fedmsg_outbox (topic, body) VALUES (x'617070fe', '{}'), (x'6170702e6e', '{\"n\":1}');
         INSERT INTO fedmsg_outbox (topic, msg_id) VALUES ('app.n', x'ff'), ('app.n', 17), ('app.n', x'6162');
         INSERT INTO fedmsg_outbox (id, topic, body) VALUES (-7, 'app.n', '{\"n\":0}');
         INSERT INTO fedmsg_outbox (topic, created, username) VALUES ('app.n', 'yesterday', x'00ff'),
            ('app.n', 'yesterday', 4.5);
         INSERT INTO fedmsg_outbox (topic, body) VALUES ('app.n', '{\"n\":2}')",
    );
    let table = world.table();
    flush(&table);
    assert_eq!(world.numbers(), [0, 1, 2]);
    let aside = world.rows().set_aside(None, 10).expect("a list");
    let why: Vec<&str> = aside.iter().map(|row| row.why.as_str()).collect();
    assert_eq!(why, ["`topic` is no text", "`msg_id` is no text", "`username` is no text"]);
    assert_eq!(world.kept().len(), 6, "17, `ab` and 4.5 are texts as well");
    assert_eq!(table.metrics().failures, 0);
}

#[test]
fn a_file_that_is_moved_away_is_waited_for() {
    let world = World::sqlite();
    // Without a log beside it the file alone is the database.
    world.application().run("PRAGMA journal_mode = DELETE");
    let table = world.table();
    flush(&table);
    let (path, away) = (world.path("app.db"), world.path("away.db"));
    world.application().insert(1);
    flush(&table);
    fs::rename(&path, &away).expect("moved");
    wait_for("it says so", || {
        table.metrics().failing.is_some_and(|why| why.contains("there is no database"))
    });
    fs::rename(&away, &path).expect("moved back");
    world.application().insert(2);
    flush(&table);
    assert_eq!(world.numbers(), [1, 2]);
    assert_eq!(table.metrics().failing, None);
    assert!(table.metrics().failures > 0);
}

#[test]
fn a_table_that_was_dropped_is_said_and_made_again() {
    let world = World::sqlite();
    let table = world.table();
    flush(&table);
    world.application().run("DROP TABLE fedmsg_outbox");
    wait_for("it says so", || {
        table.metrics().failing.is_some_and(|why| why.contains("no such table"))
    });
    world.application().run("DROP TABLE fedmsg_outbox_version");
    flush(&table);
    world.application().insert(1);
    flush(&table);
    assert_eq!(world.numbers(), [1]);
}
