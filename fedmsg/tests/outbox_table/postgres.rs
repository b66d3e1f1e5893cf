//! What only a server can do: transactions that overlap, crashes, sessions that end.

use fedmsg::consumer::StoreAddress;

use crate::server::{Server, psql};
use crate::world::{World, flush, wait_for};

#[test]
fn a_row_that_is_committed_behind_a_later_number_is_not_passed_over() {
    let Some(world) = World::postgres() else { return };
    let table = world.table();
    let (mut slow, mut quick) = (world.application(), world.application());
    slow.run("BEGIN");
    slow.insert(1);
    quick.insert(2);
    flush(&table);
    assert_eq!(world.numbers(), [2]);
    slow.insert(3);
    slow.run("COMMIT");
    flush(&table);
    assert_eq!(world.numbers(), [2, 1, 3]);
}

#[test]
fn transactions_that_change_the_same_row_are_published_in_the_order_of_their_commits() {
    let Some(world) = World::postgres() else { return };
    let table = world.table();
    let mut application = world.application();
    application.run("CREATE TABLE account (balance BIGINT); INSERT INTO account VALUES (0)");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let world = &world;
            scope.spawn(move || {
                let mut application = world.application();
                for _ in 0..20 {
                    application.run(
                        "BEGIN; UPDATE account SET balance = balance + 1;
                         INSERT INTO fedmsg_outbox (topic, body)
                            SELECT 'app.n', json_build_object('n', balance) FROM account;
                         COMMIT",
                    );
                }
            });
        }
    });
    flush(&table);
    assert_eq!(world.numbers(), (1..=120).collect::<Vec<_>>());
}

#[test]
fn a_server_that_crashes_and_comes_back_costs_nothing() {
    let Some(mut server) = Server::new() else { return };
    let world = World::at(StoreAddress::Postgres(server.schema()));
    let table = world.table();
    world.application().insert(1);
    flush(&table);
    world.application().insert(2);
    server.stop();
    wait_for("it says so", || table.metrics().failing.is_some() && !table.metrics().is_owner);
    server.start();
    world.application().insert(3);
    flush(&table);
    assert_eq!(world.numbers(), [1, 2, 3]);
    assert_eq!(table.metrics().failing, None);
}

#[test]
fn a_session_that_is_ended_is_made_again_and_another_may_take_over_meanwhile() {
    let Some(world) = World::postgres() else { return };
    let StoreAddress::Postgres(url) = &world.address else { panic!("{}", world.address) };
    let named = |name: &str| StoreAddress::Postgres(format!("{url}&application_name={name}"));
    let (first, second) = (world.publisher(), world.publisher());
    let start = |name: &str, publisher| {
        fedmsg::outbox_table::OutboxTable::start(&named(name), publisher).expect("it starts")
    };
    let one = start("ended", first);
    flush(&one);
    let other = start("other", second);
    let owners = || [&one, &other].map(|table| table.metrics().is_owner);
    for n in 1..=10 {
        world.application().insert(n);
        let server = crate::server::shared().expect("it was there");
        psql(
            &server.url(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'ended' OR (application_name = 'other' AND random() < 0.3)",
        );
        wait_for("it is published", || world.rows().counts().expect("counts").waiting == 0);
    }
    wait_for("one owns it", || owners().iter().filter(|is| **is).count() == 1);
    let mut numbers = world.numbers();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}
