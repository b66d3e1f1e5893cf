//! What people ask and do.

use super::row::Row;
use super::{Statements, leases};
use crate::consumer::{ConsumerName, Lease, Start, StoreError, Summary};
use crate::timestamp::Timestamp;

const SUMMARY: &str = "SELECT c.name, c.created, c.start, c.owner, c.lease_until,
    (SELECT count(*) FROM fedmsg_cursors t WHERE t.consumer = c.name),
    (SELECT max(updated) FROM fedmsg_cursors t WHERE t.consumer = c.name),
    (SELECT count(*) FROM fedmsg_refusals t WHERE t.consumer = c.name), c.refusals_dropped,
    (SELECT count(*) FROM fedmsg_retries t WHERE t.consumer = c.name),
    (SELECT count(*) FROM fedmsg_letters t WHERE t.consumer = c.name), c.letters_dropped
    FROM fedmsg_consumers c";

fn read(mut row: Row) -> Result<Summary, StoreError> {
    let consumer = row.parsed("name of a consumer", |text| ConsumerName::parse(text).ok())?;
    let created = row.time()?;
    let start = row.parsed("start", |text| Start::parse(text).ok())?;
    let owner = row.or_null(|row| row.text())?;
    let until = row.time()?;
    Ok(Summary {
        consumer,
        created,
        start,
        lease: owner.map(|owner| Lease { owner, until }),
        streams: row.count()?,
        moved: row.or_null(|row| row.time())?,
        refusals: row.count()?,
        refusals_dropped: row.count()?,
        retries: row.count()?,
        letters: row.count()?,
        letters_dropped: row.count()?,
    })
}

pub(super) fn consumers(to: &mut dyn Statements) -> Result<Vec<Summary>, StoreError> {
    let rows = to.query(&format!("{SUMMARY} ORDER BY c.name"), &[])?;
    rows.into_iter().map(read).collect()
}

pub(super) fn show(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
) -> Result<Summary, StoreError> {
    let rows = to.query(&format!("{SUMMARY} WHERE c.name = ?1"), &[consumer.as_str().into()])?;
    let row = rows.into_iter().next();
    read(row.ok_or_else(|| StoreError::NoConsumer(consumer.clone()))?)
}

pub(super) fn delete(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    now: Timestamp,
) -> Result<(), StoreError> {
    leases::take_from_nobody(to, consumer, now)?;
    for statement in [
        "DELETE FROM fedmsg_cursors WHERE consumer = ?1",
        "DELETE FROM fedmsg_refusals WHERE consumer = ?1",
        "DELETE FROM fedmsg_retries WHERE consumer = ?1",
        "DELETE FROM fedmsg_letters WHERE consumer = ?1",
        "DELETE FROM fedmsg_consumers WHERE name = ?1",
    ] {
        to.execute(statement, &[consumer.as_str().into()])?;
    }
    Ok(())
}
