//! A shop that keeps its orders in SQLite and publishes each of them once, wherever it is killed.
//!
//! ```text
//! cargo run --example outbox_table -- shop.db                       # takes ten orders; every fourth is refused
//! cargo run --example outbox_table -- shop.db --crash-at published  # dies there; start it again
//! cargo run --example outbox_table -- shop.db --list                # the orders that there are
//! ```
//!
//! Steps to die at: `inserted` (the transaction is open), `committed`, `offered` (the database says that the rows are
//! given to the publisher), `published` (there is a receipt), `settled` (they are removed).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedmsg::Publisher;
use fedmsg::consumer::StoreAddress;
use fedmsg::outbox_table::{OutboxTable, Step};
use rusqlite::Connection;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long it is waited for everything to be published.
const PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    database: PathBuf,
    orders: i64,
    crash_at: Option<String>,
    list: bool,
}

fn main() -> Outcome<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut shop = open(&options.database)?;
    if options.list {
        return list(&shop);
    }
    let address = StoreAddress::Sqlite(options.database.clone());
    let crash_at = options.crash_at.clone();
    let outbox = OutboxTable::builder(&address, Publisher::new()?)
        .after_each_step(move |step| crash(crash_at.as_deref(), name(step)))
        .start()?;
    let first: i64 =
        shop.query_row("SELECT coalesce(max(id), 0) + 1 FROM orders", [], |row| row.get(0))?;
    for id in first..first + options.orders {
        match take_order(&mut shop, id, options.crash_at.as_deref()) {
            Ok(()) => println!("order {id} is taken"),
            Err(error) => println!("order {id} is refused: {error}"),
        }
        outbox.wake();
    }
    if !outbox.flush(PATIENCE) {
        return Err(format!("not everything is published: {:?}", outbox.metrics()).into());
    }
    println!("everything is published");
    Ok(())
}

/// The order and its message are one transaction: both are there, or none.
fn take_order(shop: &mut Connection, id: i64, crash_at: Option<&str>) -> Outcome<()> {
    let transaction = shop.transaction()?;
    transaction.execute("INSERT INTO orders (id, item) VALUES (?1, 'kettle')", [id])?;
    let body = json!({ "order": id, "item": "kettle" });
    transaction.execute(
        "INSERT INTO fedmsg_outbox (topic, body) VALUES ('shop.order.create', ?1)",
        [body.to_string()],
    )?;
    crash(crash_at, "inserted");
    if id % 4 == 0 {
        // To return is to drop the transaction, which is rolled back.
        return Err("the card has no cover".into());
    }
    transaction.commit()?;
    crash(crash_at, "committed");
    Ok(())
}

/// As kill -9 does it: nothing is tidied up.
fn crash(crash_at: Option<&str>, here: &str) {
    if crash_at == Some(here) {
        std::process::abort();
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Offered => "offered",
        Step::Published => "published",
        Step::Settled => "settled",
        _ => "another step",
    }
}

fn open(path: &Path) -> Outcome<Connection> {
    let shop = Connection::open(path)?;
    shop.busy_timeout(Duration::from_secs(10))?;
    shop.pragma_update(None, "journal_mode", "WAL")?;
    shop.execute_batch(
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)",
    )?;
    Ok(shop)
}

fn list(shop: &Connection) -> Outcome<()> {
    let mut orders = shop.prepare("SELECT id FROM orders ORDER BY id")?;
    for id in orders.query_map([], |row| row.get::<_, i64>(0))? {
        println!("{}", id?);
    }
    Ok(())
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Options> {
        let usage = "usage: outbox_table DATABASE [--orders N] [--crash-at STEP] [--list]";
        let database = arguments.next().filter(|path| !path.starts_with('-')).ok_or(usage)?;
        let mut options =
            Options { database: database.into(), orders: 10, crash_at: None, list: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => options.list = true,
                "--orders" => options.orders = arguments.next().ok_or(usage)?.parse()?,
                "--crash-at" => options.crash_at = Some(arguments.next().ok_or(usage)?),
                _ => return Err(usage.into()),
            }
        }
        Ok(options)
    }
}
