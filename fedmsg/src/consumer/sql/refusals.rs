//! What was refused, and may be cured.

use std::collections::HashMap;

use super::row::{Row, Value, epoch_bytes};
use super::{Statements, leases, only};
use crate::consumer::{
    Bounds, ConsumerName, Curable, Fence, Position, Refusal, RefusalFilter, Refused, StoreError,
};
use crate::identity::StreamName;
use crate::keys::KeyId;
use crate::timestamp::Timestamp;

pub(super) fn refuse(
    to: &mut dyn Statements,
    fence: &Fence,
    refused: &[Refused],
    now: Timestamp,
    bounds: &Bounds,
) -> Result<usize, StoreError> {
    leases::hold(to, fence)?;
    let mut room = Room::new(to, &fence.consumer, bounds)?;
    let mut dropped = 0;
    for one in refused {
        if again(to, &fence.consumer, one)? {
            continue;
        }
        if room.take(to, &fence.consumer, &one.position.stream)? {
            insert(to, &fence.consumer, one, now)?;
        } else {
            dropped += 1;
        }
    }
    if dropped > 0 {
        to.execute(
            "UPDATE fedmsg_consumers SET refusals_dropped = refusals_dropped + ?2 WHERE name = ?1",
            &[fence.consumer.as_str().into(), (dropped as u64).into()],
        )?;
    }
    Ok(dropped)
}

/// What may still be added, for all streams together and for each one. The oldest stay: from there a stream is
/// fetched again when it is cured.
struct Room {
    left: u64,
    of_stream: u64,
    streams: HashMap<StreamName, u64>,
}

impl Room {
    fn new(
        to: &mut dyn Statements,
        consumer: &ConsumerName,
        bounds: &Bounds,
    ) -> Result<Room, StoreError> {
        let count = "SELECT count(*) FROM fedmsg_refusals WHERE consumer = ?1";
        let there = only(to, count, &[consumer.as_str().into()])?.count()?;
        let left = bounds.refusals.saturating_sub(there);
        Ok(Room { left, of_stream: bounds.refusals_of_stream, streams: HashMap::new() })
    }

    fn take(
        &mut self,
        to: &mut dyn Statements,
        consumer: &ConsumerName,
        stream: &StreamName,
    ) -> Result<bool, StoreError> {
        if !self.streams.contains_key(stream) {
            let count = "SELECT count(*) FROM fedmsg_refusals WHERE consumer = ?1 AND stream = ?2";
            let there = only(to, count, &[consumer.as_str().into(), stream.into()])?.count()?;
            self.streams.insert(stream.clone(), self.of_stream.saturating_sub(there));
        }
        let left = self.streams.entry(stream.clone()).or_default();
        if self.left == 0 || *left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        *left -= 1;
        Ok(true)
    }
}

fn again(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    refused: &Refused,
) -> Result<bool, StoreError> {
    let Position { stream, epoch, i } = &refused.position;
    let changed = to.execute(
        "UPDATE fedmsg_refusals
         SET leaf = COALESCE(?5, leaf), reason = ?6, key_id = ?7, seen = seen + 1
         WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4",
        &[
            consumer.as_str().into(),
            stream.into(),
            epoch_bytes(*epoch).as_slice().into(),
            (*i).into(),
            (&refused.leaf).into(),
            refused.reason.name().into(),
            refused.key.as_str().into(),
        ],
    )?;
    Ok(changed > 0)
}

fn insert(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    refused: &Refused,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Position { stream, epoch, i } = &refused.position;
    to.execute(
        "INSERT INTO fedmsg_refusals
         (consumer, stream, epoch, i, leaf, reason, key_id, first_seen, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)",
        &[
            consumer.as_str().into(),
            stream.into(),
            epoch_bytes(*epoch).as_slice().into(),
            (*i).into(),
            (&refused.leaf).into(),
            refused.reason.name().into(),
            refused.key.as_str().into(),
            now.into(),
        ],
    )?;
    Ok(())
}

fn read(mut row: Row) -> Result<Refusal, StoreError> {
    let refused = Refused {
        position: row.position()?,
        leaf: row.or_null(|row| row.leaf())?,
        reason: row.parsed("reason of a refusal", Curable::parse)?,
        key: row.parsed("key id", |text| KeyId::parse(text).ok())?,
    };
    Ok(Refusal { refused, first_seen: row.time()?, count: row.count()? })
}

/// The bound on their number makes it cheap to filter here rather than there.
pub(super) fn list(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    filter: &RefusalFilter,
) -> Result<Vec<Refusal>, StoreError> {
    leases::must_exist(to, consumer)?;
    let rows = to.query(
        "SELECT stream, epoch, i, leaf, reason, key_id, first_seen, seen
         FROM fedmsg_refusals WHERE consumer = ?1 ORDER BY stream, epoch, i",
        &[consumer.as_str().into()],
    )?;
    let all = rows.into_iter().map(read);
    all.filter(|one| one.as_ref().map_or(true, |one| filter.matches(&one.refused))).collect()
}

pub(super) fn cured(
    to: &mut dyn Statements,
    fence: &Fence,
    positions: &[Position],
) -> Result<usize, StoreError> {
    leases::hold(to, fence)?;
    let mut struck = 0;
    for Position { stream, epoch, i } in positions {
        struck += to.execute(
            "DELETE FROM fedmsg_refusals
             WHERE consumer = ?1 AND stream = ?2 AND epoch = ?3 AND i = ?4",
            &[
                fence.consumer.as_str().into(),
                stream.into(),
                Value::Bytes(&epoch_bytes(*epoch)),
                (*i).into(),
            ],
        )?;
    }
    Ok(usize::try_from(struck).unwrap_or(usize::MAX))
}
