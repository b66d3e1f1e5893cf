//! What can happen to a server, and what is said about it.

use fedmsg::consumer::{CursorStore, PostgresStore, StoreError};

use crate::fixtures::{advance, at, claim, name, numbers};
use crate::server::{Server, psql};

#[test]
fn a_server_that_crashed_is_connected_to_again_and_kept_what_was_answered() {
    let Some(mut server) = Server::new() else {
        return;
    };
    let mut store = PostgresStore::connect(&server.url()).expect("connected");
    let fence = claim(&mut store, "badges", "host1", 0);
    assert_eq!(store.advance(&fence, &[advance(0, 7)], at(1)), Ok(1));
    server.stop();
    for _ in 0..2 {
        let lost = store.advance(&fence, &[advance(0, 8)], at(2));
        assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    }
    server.start();
    assert_eq!(store.load(&name("badges")).map(|cursors| numbers(&cursors)), Ok(vec![7]));
    assert_eq!(store.advance(&fence, &[advance(0, 8)], at(3)), Ok(1), "by itself");
    // A session that the server ended costs one call, which may be made again.
    psql(
        &server.url(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'fedmsg'",
    );
    let lost = store.renew(&fence, at(4));
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    assert_eq!(store.renew(&fence, at(4)), Ok(at(30_004)));
}

#[test]
fn a_server_that_can_only_be_read_says_so() {
    let Some(server) = crate::server::shared() else {
        return;
    };
    let url = server.schema();
    let mut store = PostgresStore::connect(&url).expect("connected");
    let fence = claim(&mut store, "badges", "host1", 0);
    psql(&url, "CREATE ROLE reader LOGIN");
    let schema = url.rsplit_once("%3D").expect("a schema").1;
    psql(
        &url,
        &format!(
            "GRANT USAGE ON SCHEMA {schema} TO reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader"
        ),
    );
    let mut reader = PostgresStore::connect(&url.replace("fedmsg@", "reader@")).expect("connected");
    assert_eq!(reader.load(&name("badges")), Ok(Vec::new()));
    let refused = reader.renew(&fence, at(1));
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    assert_eq!(store.renew(&fence, at(1)), Ok(at(30_001)));
}

#[test]
fn whoever_keeps_the_lock_for_too_long_is_not_waited_for_for_ever() {
    let Some(server) = crate::server::shared() else {
        return;
    };
    let url = server.schema();
    let mut store = PostgresStore::connect(&url).expect("connected");
    let fence = claim(&mut store, "badges", "host1", 0);
    let holder = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            psql(
                &url,
                "BEGIN; UPDATE fedmsg_consumers SET lease_ms = 1; SELECT pg_sleep(8); COMMIT",
            );
        });
        psql(
            &url,
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity
            WHERE wait_event = 'PgSleep') LOOP PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
        );
        let busy = store.renew(&fence, at(1));
        assert!(matches!(busy, Err(StoreError::Busy { waited_ms: 5_000, .. })), "{busy:?}");
        other.join()
    });
    assert!(holder.is_ok());
    assert_eq!(store.renew(&fence, at(2)), Ok(at(3)), "usable again, with the length that was set");
}

#[test]
fn a_password_is_never_shown() {
    let secret = "s3cr3t-Wort";
    for address in [
        format!("postgres://me:{secret}@127.0.0.1:1/bus"),
        format!("host=127.0.0.1 port=1 user=me password={secret} dbname=bus"),
        format!("host=127.0.0.1 port=1 user=me password={secret} sslmode=require dbname=bus"),
        format!("postgres://me:{secret}@:nonsense:/bus"),
        format!("postgres://me:{secret}@host:port/bus?{secret}={secret}"),
        format!("user=me {secret}"),
    ] {
        let error = PostgresStore::connect(&address).map(drop).expect_err(&address);
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(secret), "{text}");
        }
        match error {
            StoreError::BadUrl => {}
            StoreError::Unavailable { place, .. } => {
                assert_eq!(place, "PostgreSQL database `bus` on 127.0.0.1");
            }
            other => panic!("{other:?}"),
        }
    }
    let Some(server) = crate::server::shared() else {
        return;
    };
    let url = server.url().replace("fedmsg@", &format!("fedmsg:{secret}@"));
    let store = PostgresStore::connect(&url).expect("connected");
    assert!(!format!("{store:?}").contains(secret), "{store:?}");
}
