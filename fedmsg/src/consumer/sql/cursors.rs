//! How far a consumer is.

use super::row::{Row, epoch_bytes};
use super::{Statements, leases, only};
use crate::consumer::{Advance, Bounds, ConsumerName, Cursor, Fence, Position, StoreError, check};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::timestamp::Timestamp;

fn read(mut row: Row) -> Result<Cursor, StoreError> {
    Ok(Cursor {
        position: row.position()?,
        leaf: row.or_null(|row| row.leaf())?,
        updated: row.time()?,
    })
}

pub(super) fn load(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
) -> Result<Vec<Cursor>, StoreError> {
    leases::must_exist(to, consumer)?;
    let rows = to.query(
        "SELECT stream, epoch, i, leaf, updated FROM fedmsg_cursors WHERE consumer = ?1 ORDER BY stream",
        &[consumer.as_str().into()],
    )?;
    rows.into_iter().map(read).collect()
}

pub(super) fn advance(
    to: &mut dyn Statements,
    fence: &Fence,
    cursors: &[Advance],
    now: Timestamp,
    bounds: &Bounds,
) -> Result<usize, StoreError> {
    leases::hold(to, fence)?;
    let mut moved = 0;
    for cursor in cursors {
        if forward(to, &fence.consumer, cursor, now)? {
            moved += 1;
        } else if !is_there(to, &fence.consumer, &cursor.position.stream)? {
            insert(to, &fence.consumer, cursor, now, bounds)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Moves a cursor that is there, if this is forwards.
fn forward(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    cursor: &Advance,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Advance { position, leaf } = cursor;
    let changed = to.execute(
        "UPDATE fedmsg_cursors SET epoch = ?3, i = ?4, leaf = ?5, updated = ?6
         WHERE consumer = ?1 AND stream = ?2 AND (epoch <> ?3 OR i < ?4)",
        &[
            consumer.as_str().into(),
            (&position.stream).into(),
            epoch_bytes(position.epoch).as_slice().into(),
            position.i.into(),
            leaf.into(),
            now.into(),
        ],
    )?;
    if changed > 0 || leaf.is_none() {
        return Ok(changed > 0);
    }
    to.execute(
        "UPDATE fedmsg_cursors SET leaf = ?5
         WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4 AND leaf IS NULL",
        &[
            consumer.as_str().into(),
            (&position.stream).into(),
            epoch_bytes(position.epoch).as_slice().into(),
            position.i.into(),
            leaf.into(),
        ],
    )?;
    Ok(false)
}

fn is_there(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    stream: &StreamName,
) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM fedmsg_cursors WHERE consumer = ?1 AND stream = ?2";
    Ok(only(to, sql, &[consumer.as_str().into(), stream.into()])?.count()? > 0)
}

fn insert(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    cursor: &Advance,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    let count = "SELECT count(*) FROM fedmsg_cursors WHERE consumer = ?1";
    if only(to, count, &[consumer.as_str().into()])?.count()? >= bounds.streams {
        return Err(StoreError::Full { what: "streams of a consumer", bound: bounds.streams });
    }
    to.execute(
        "INSERT INTO fedmsg_cursors (consumer, stream, epoch, i, leaf, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            consumer.as_str().into(),
            (&cursor.position.stream).into(),
            epoch_bytes(cursor.position.epoch).as_slice().into(),
            cursor.position.i.into(),
            (&cursor.leaf).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

pub(super) fn forget(
    to: &mut dyn Statements,
    fence: &Fence,
    streams: &[StreamName],
    unmoved_since: Timestamp,
) -> Result<Vec<StreamName>, StoreError> {
    leases::hold(to, fence)?;
    let mut forgotten = Vec::new();
    for stream in streams {
        let struck = to.execute(
            "DELETE FROM fedmsg_cursors WHERE consumer = ?1 AND stream = ?2 AND updated < ?3
             AND NOT EXISTS (SELECT 1 FROM fedmsg_refusals WHERE consumer = ?1 AND stream = ?2)
             AND NOT EXISTS (SELECT 1 FROM fedmsg_retries WHERE consumer = ?1 AND stream = ?2)",
            &[fence.consumer.as_str().into(), stream.into(), unmoved_since.into()],
        )?;
        if struck > 0 {
            forgotten.push(stream.clone());
        }
    }
    Ok(forgotten)
}

/// Puts a cursor somewhere, whatever it was.
pub(super) fn place(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    position: Position,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    to.execute(
        "DELETE FROM fedmsg_cursors WHERE consumer = ?1 AND stream = ?2",
        &[consumer.as_str().into(), (&position.stream).into()],
    )?;
    insert(to, consumer, &Advance { position, leaf: None }, now, bounds)
}

pub(super) fn seek(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    stream: &StreamName,
    epoch: Epoch,
    i: u64,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    leases::take_from_nobody(to, consumer, now)?;
    place(to, consumer, Position { stream: stream.clone(), epoch, i }, now, bounds)
}

pub(super) fn skip(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    stream: &StreamName,
    count: u64,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<Cursor, StoreError> {
    leases::take_from_nobody(to, consumer, now)?;
    let rows = to.query(
        "SELECT stream, epoch, i FROM fedmsg_cursors WHERE consumer = ?1 AND stream = ?2",
        &[consumer.as_str().into(), stream.into()],
    )?;
    let Some(mut row) = rows.into_iter().next() else {
        let (consumer, stream) = (consumer.clone(), stream.clone());
        return Err(StoreError::NoCursor { consumer, stream });
    };
    let mut position = row.position()?;
    position.i = position.i.saturating_add(count);
    check::number(position.i)?;
    place(to, consumer, position.clone(), now, bounds)?;
    Ok(Cursor { position, leaf: None, updated: now })
}
