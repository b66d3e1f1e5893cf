//! An application with its orders in SQLite that dies at every step, and by kill -9 at random: each order that is
//! committed comes to a reader once, and nothing that was rolled back.
//! `FEDMSG_TABLE_CRASHES=500 cargo test -p fedmsg-tests outbox_table` has it die more often.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use fedmsg::outbox_table::{POSTGRES_SCHEMA, SQLITE_SCHEMA};

use crate::harness::{Bus, Program, Rounds, command};

/// Where the example can be told to die.
const STEPS: [&str; 5] = ["inserted", "committed", "offered", "published", "settled"];

/// The application: `fedmsg/examples/outbox_table.rs`.
fn shop(bus: &Bus, arguments: &[&str]) -> Program {
    let mut shop = command("examples/outbox_table");
    shop.env("FEDMSG_CONFIG_DIR", bus.etc()).env("FEDMSG_IDENTITY", "shop.one");
    shop.arg(bus.path("shop.db")).args(arguments);
    Program::start(shop)
}

/// The orders in the database.
fn orders(bus: &Bus) -> Vec<u64> {
    let (code, out, errors) = shop(bus, &["--list"]).end();
    assert_eq!(code, 0, "{errors:?}");
    out.iter().map(|line| line.parse().expect("a number")).collect()
}

/// How often each order is shown to a reader who begins with the first message and ends with the last one.
fn shown(bus: &Bus) -> BTreeMap<u64, u64> {
    let (code, out, errors) = bus.tail(&["--all", "--no-follow", "--json"]).end();
    assert_eq!(code, 0, "{errors:?}");
    let mut shown = BTreeMap::new();
    for line in out {
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let order = event["message"]["msg"]["order"].as_u64();
        *shown.entry(order.unwrap_or_else(|| panic!("{line}"))).or_default() += 1;
    }
    shown
}

fn crash_again_and_again(bus: &Bus, rounds: &mut Rounds) {
    for round in 0..rounds.count {
        let by_chance = round % (STEPS.len() as u64 + 1);
        let mut program = match STEPS.get(by_chance as usize) {
            Some(step) => shop(bus, &["--orders", "7", "--crash-at", step]),
            None => {
                let program = shop(bus, &["--orders", "30"]);
                // Nothing is waited for here: the moment is by chance.
                thread::sleep(Duration::from_micros(rounds.chance(200_000)));
                program
            }
        };
        match by_chance < STEPS.len() as u64 {
            true => {
                let (code, out, errors) = program.end();
                assert_eq!(code, -1, "it dies by a signal: {out:?} {errors:?}");
            }
            false => program.kill(),
        }
        rounds.progress(round, &format!("{} orders", orders(bus).len()));
    }
    let (code, out, errors) = shop(bus, &["--orders", "7"]).end();
    assert_eq!(code, 0, "{errors:?}");
    assert_eq!(out.last().map(String::as_str), Some("everything is published"));
}

fn check(bus: &Bus, rounds: &Rounds) {
    let orders = orders(bus);
    assert!(orders.len() > 7, "some of them died behind a commit: {orders:?}");
    assert!(orders.iter().all(|order| order % 4 != 0), "those are rolled back: {orders:?}");
    let once: BTreeMap<u64, u64> = orders.iter().map(|order| (*order, 1)).collect();
    assert_eq!(shown(bus), once);
    rounds.end(&format!("{} orders, each shown once, and nothing else", orders.len()));
}

#[test]
fn the_tables_in_the_documentation_are_those_of_the_library() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/outbox-table.md");
    let text = std::fs::read_to_string(path).expect("the page");
    for schema in [SQLITE_SCHEMA, POSTGRES_SCHEMA] {
        assert!(text.contains(&format!("```sql\n{schema}```")), "{schema}");
    }
}

#[test]
fn each_committed_order_is_shown_once_whatever_step_its_application_dies_at_in_front_of_a_relay() {
    let mut rounds = Rounds::new("an outbox table, relayed", "FEDMSG_TABLE_CRASHES", 18);
    let bus = Bus::new(&["relay.one"]);
    bus.key("shop.one");
    let _relay = bus.relay("relay.one");
    crash_again_and_again(&bus, &mut rounds);
    check(&bus, &rounds);
}

#[test]
fn the_same_with_an_endpoint_of_its_own() {
    let mut rounds = Rounds::new("an outbox table, direct", "FEDMSG_TABLE_CRASHES", 18);
    let bus = Bus::new(&[]);
    bus.service_with_replay("shop.one", 2);
    crash_again_and_again(&bus, &mut rounds);
    // Somebody answers for the journals of those that are gone.
    let (_other, _) = bus.process("shop.one");
    check(&bus, &rounds);
}
