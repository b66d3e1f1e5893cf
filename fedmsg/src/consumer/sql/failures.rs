//! What could not be handled: what waits for another try, and what was given up.

use super::row::{Row, Value, epoch_bytes};
use super::{Statements, leases, only};
use crate::consumer::{
    Bounds, ConsumerName, DeadLetter, Due, Failure, Fence, LetterFilter, Page, Position, Retry,
    StoreError, check,
};
use crate::identity::StreamName;
use crate::limits::{FAILURES_PAGE_BYTES_MAX, FAILURES_PAGE_MAX};
use crate::timestamp::Timestamp;
use crate::topic::Topic;

pub(super) fn failed(
    to: &mut dyn Statements,
    fence: &Fence,
    failure: &Failure,
    next_at: Timestamp,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    leases::hold(to, fence)?;
    let consumer = &fence.consumer;
    let first_failed = first_failed(to, consumer, &failure.position)?.unwrap_or(now);
    let retry = Retry { failure: failure.clone(), first_failed, next_at };
    remove_retry(to, consumer, &failure.position)?;
    insert_retry(to, consumer, &retry, bounds)
}

fn first_failed(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    position: &Position,
) -> Result<Option<Timestamp>, StoreError> {
    let rows = to.query(
        "SELECT first_failed FROM fedmsg_retries
         WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4",
        &key(consumer, position, &epoch_bytes(position.epoch)),
    )?;
    rows.into_iter().next().map(|mut row| row.time()).transpose()
}

fn key<'a>(
    consumer: &'a ConsumerName,
    position: &'a Position,
    epoch: &'a [u8; 16],
) -> [Value<'a>; 4] {
    [
        consumer.as_str().into(),
        (&position.stream).into(),
        epoch.as_slice().into(),
        position.i.into(),
    ]
}

fn insert_retry(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    retry: &Retry,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    let size = retry.failure.envelope.len() as u64;
    let (count, bytes) = room_taken(to, "fedmsg_retries", consumer)?;
    if count >= bounds.retries {
        return Err(StoreError::Full { what: "messages to be tried again", bound: bounds.retries });
    }
    if bytes + size > bounds.retry_bytes {
        let what = "bytes of messages to be tried again";
        return Err(StoreError::Full { what, bound: bounds.retry_bytes });
    }
    insert(
        to,
        "INSERT INTO fedmsg_retries (consumer, stream, epoch, i, topic, envelope, size, error,
         attempts, first_failed, next_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        consumer,
        &retry.failure,
        &[retry.first_failed.into(), retry.next_at.into()],
    )
}

fn insert(
    to: &mut dyn Statements,
    sql: &str,
    consumer: &ConsumerName,
    failure: &Failure,
    rest: &[Value<'_>],
) -> Result<(), StoreError> {
    let epoch = epoch_bytes(failure.position.epoch);
    let error = check::error_text(&failure.error);
    let mut values = key(consumer, &failure.position, &epoch).to_vec();
    values.extend([
        failure.topic.as_str().into(),
        failure.envelope.as_ref().into(),
        Value::from(failure.envelope.len() as u64),
        error.as_str().into(),
        Value::from(u64::from(failure.attempts)),
    ]);
    values.extend_from_slice(rest);
    to.execute(sql, &values).map(drop)
}

/// How many messages and bytes a consumer has in one of the two tables, by an index alone.
fn room_taken(
    to: &mut dyn Statements,
    table: &str,
    consumer: &ConsumerName,
) -> Result<(u64, u64), StoreError> {
    let sql = format!(
        "SELECT count(*), CAST(COALESCE(sum(size), 0) AS BIGINT) FROM {table} WHERE consumer = ?1"
    );
    let mut row = only(to, &sql, &[consumer.as_str().into()])?;
    Ok((row.count()?, row.count()?))
}

fn remove_retry(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    position: &Position,
) -> Result<u64, StoreError> {
    to.execute(
        "DELETE FROM fedmsg_retries WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4",
        &key(consumer, position, &epoch_bytes(position.epoch)),
    )
}

pub(super) fn succeeded(
    to: &mut dyn Statements,
    fence: &Fence,
    positions: &[Position],
) -> Result<usize, StoreError> {
    leases::hold(to, fence)?;
    let mut done = 0;
    for position in positions {
        done += remove_retry(to, &fence.consumer, position)?;
    }
    Ok(usize::try_from(done).unwrap_or(usize::MAX))
}

pub(super) fn due(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    now: Timestamp,
) -> Result<Due, StoreError> {
    leases::must_exist(to, consumer)?;
    // One more than can be handed out: it says when to ask again.
    let rows = to.query(
        "SELECT next_at, size, stream, epoch, i FROM fedmsg_retries WHERE consumer = ?1
         ORDER BY next_at, stream, epoch, i LIMIT ?2",
        &[consumer.as_str().into(), (FAILURES_PAGE_MAX as u64 + 1).into()],
    )?;
    let mut due = Due::default();
    let mut bytes = 0;
    for mut row in rows {
        let (next_at, size, position) = (row.time()?, row.count()?, row.position()?);
        if next_at > now || !fits_page(due.retries.len(), &mut bytes, size) {
            due.next_at = Some(next_at);
            break;
        }
        due.retries.push(read_retry(to, consumer, &position)?);
    }
    Ok(due)
}

/// Whether a further message still fits into what is handed out at once.
fn fits_page(there: usize, bytes: &mut u64, size: u64) -> bool {
    *bytes += size;
    there == 0 || (there < FAILURES_PAGE_MAX && *bytes <= FAILURES_PAGE_BYTES_MAX as u64)
}

fn read_retry(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    position: &Position,
) -> Result<Retry, StoreError> {
    let mut row = only(
        to,
        "SELECT stream, epoch, i, topic, envelope, error, attempts, first_failed, next_at
         FROM fedmsg_retries WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4",
        &key(consumer, position, &epoch_bytes(position.epoch)),
    )?;
    Ok(Retry { failure: read_failure(&mut row)?, first_failed: row.time()?, next_at: row.time()? })
}

fn read_topic(row: &mut Row) -> Result<Topic, StoreError> {
    row.parsed("topic", |text| Topic::parse(text).ok())
}

fn read_failure(row: &mut Row) -> Result<Failure, StoreError> {
    Ok(Failure {
        position: row.position()?,
        topic: read_topic(row)?,
        envelope: row.bytes()?,
        error: row.text()?,
        attempts: u32::try_from(row.count()?).unwrap_or(u32::MAX),
    })
}

pub(super) fn dead(
    to: &mut dyn Statements,
    fence: &Fence,
    failure: &Failure,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<u64, StoreError> {
    leases::hold(to, fence)?;
    let consumer = &fence.consumer;
    let position = &failure.position;
    let waited_since = first_failed(to, consumer, position)?;
    remove_retry(to, consumer, position)?;
    let rows = to.query(
        "DELETE FROM fedmsg_letters WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4
         RETURNING id, first_failed",
        &key(consumer, position, &epoch_bytes(position.epoch)),
    )?;
    // Given up once before, and the answer was lost, or it came again: the number stays.
    let before = match rows.into_iter().next() {
        Some(mut row) => Some((row.count()?, row.time()?)),
        None => None,
    };
    let id = match before {
        Some((id, _)) => id,
        None => next_id(to, consumer)?,
    };
    let first_failed = before.map(|(_, first)| first).or(waited_since).unwrap_or(now);
    insert(
        to,
        "INSERT INTO fedmsg_letters (consumer, stream, epoch, i, topic, envelope, size, error,
         attempts, first_failed, died, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        consumer,
        failure,
        &[first_failed.into(), now.into(), id.into()],
    )?;
    make_room(to, consumer, id, bounds)?;
    Ok(id)
}

fn next_id(to: &mut dyn Statements, consumer: &ConsumerName) -> Result<u64, StoreError> {
    let sql = "UPDATE fedmsg_consumers SET letter_ids = letter_ids + 1 WHERE name = ?1
               RETURNING letter_ids";
    only(to, sql, &[consumer.as_str().into()])?.count()
}

/// Lets the oldest dead letters fall out, but not the one that was just written.
fn make_room(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    keep: u64,
    bounds: &Bounds,
) -> Result<(), StoreError> {
    let (mut count, mut bytes) = room_taken(to, "fedmsg_letters", consumer)?;
    while count > bounds.letters || bytes > bounds.letter_bytes {
        let oldest = to.query(
            "DELETE FROM fedmsg_letters WHERE consumer = ?1 AND id =
             (SELECT min(id) FROM fedmsg_letters WHERE consumer = ?1 AND id <> ?2)
             RETURNING size",
            &[consumer.as_str().into(), keep.into()],
        )?;
        let Some(mut row) = oldest.into_iter().next() else {
            break;
        };
        count -= 1;
        bytes = bytes.saturating_sub(row.count()?);
        to.execute(
            "UPDATE fedmsg_consumers SET letters_dropped = letters_dropped + 1 WHERE name = ?1",
            &[consumer.as_str().into()],
        )?;
    }
    Ok(())
}

pub(super) fn dead_letters(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    filter: &LetterFilter,
    page: Page,
) -> Result<Vec<DeadLetter>, StoreError> {
    leases::must_exist(to, consumer)?;
    let rows = to.query(
        "SELECT id, size, stream, topic FROM fedmsg_letters WHERE consumer = ?1 AND id > ?2 ORDER BY id",
        &[consumer.as_str().into(), page.after.into()],
    )?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    for mut row in rows {
        let (id, size) = (row.count()?, row.count()?);
        let stream = row.parsed("stream", |text| StreamName::parse(text).ok())?;
        if !filter.matches(&stream, &read_topic(&mut row)?) {
            continue;
        }
        if letters.len() >= page.limit || !fits_page(letters.len(), &mut bytes, size) {
            break;
        }
        letters.extend(read_letter(to, consumer, id)?);
    }
    Ok(letters)
}

fn read_letter(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    id: u64,
) -> Result<Option<DeadLetter>, StoreError> {
    let rows = to.query(
        "SELECT stream, epoch, i, topic, envelope, error, attempts, first_failed, died
         FROM fedmsg_letters WHERE consumer = ?1 AND id = ?2",
        &[consumer.as_str().into(), id.into()],
    )?;
    let Some(mut row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let failure = read_failure(&mut row)?;
    Ok(Some(DeadLetter { id, failure, first_failed: row.time()?, died: row.time()? }))
}

pub(super) fn retry(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    ids: &[u64],
    now: Timestamp,
    bounds: &Bounds,
) -> Result<usize, StoreError> {
    leases::must_exist(to, consumer)?;
    let mut found = 0;
    for id in ids {
        let Some(letter) = read_letter(to, consumer, *id)? else {
            continue;
        };
        found += remove_letter(to, consumer, *id)?;
        // It came again in the meantime, and failed: one of the two is enough.
        remove_retry(to, consumer, &letter.failure.position)?;
        let failure = Failure { attempts: 0, ..letter.failure };
        let retry = Retry { failure, first_failed: letter.first_failed, next_at: now };
        insert_retry(to, consumer, &retry, bounds)?;
    }
    Ok(found)
}

fn remove_letter(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    id: u64,
) -> Result<usize, StoreError> {
    let removed = to.execute(
        "DELETE FROM fedmsg_letters WHERE consumer = ?1 AND id = ?2",
        &[consumer.as_str().into(), id.into()],
    )?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

pub(super) fn discard(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    ids: &[u64],
) -> Result<usize, StoreError> {
    leases::must_exist(to, consumer)?;
    let mut found = 0;
    for id in ids {
        found += remove_letter(to, consumer, *id)?;
    }
    Ok(found)
}
