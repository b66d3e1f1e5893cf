//! Who runs a consumer.

use super::row::Value;
use super::{Statements, only, schema};
use crate::consumer::{Bounds, Claimed, ConsumerName, Fence, Lease, Start, StoreError, check};
use crate::timestamp::Timestamp;

/// The row of a consumer, as far as it says who may write.
struct Holder {
    lease: Option<Lease>,
    lease_ms: u64,
    fence: u64,
    created: Timestamp,
    start: Start,
}

fn holder(to: &mut dyn Statements, consumer: &ConsumerName) -> Result<Option<Holder>, StoreError> {
    let rows = to.query(
        "SELECT s.version, c.owner, c.lease_until, c.lease_ms, c.fence, c.created, c.start
         FROM fedmsg_store s LEFT JOIN fedmsg_consumers c ON c.name = ?1",
        &[consumer.as_str().into()],
    )?;
    let Some(mut row) = rows.into_iter().next() else {
        return Ok(None);
    };
    schema::check(row.count()?, to.place())?;
    let owner = row.or_null(|row| row.text())?;
    let Some(until) = row.or_null(|row| row.time())? else {
        return Ok(None);
    };
    Ok(Some(Holder {
        lease: owner.map(|owner| Lease { owner, until }),
        lease_ms: row.count()?,
        fence: row.count()?,
        created: row.time()?,
        start: row.parsed("start", |text| Start::parse(text).ok())?,
    }))
}

fn next_fence(to: &mut dyn Statements) -> Result<u64, StoreError> {
    only(to, "UPDATE fedmsg_store SET fence = fence + 1 RETURNING fence", &[])?.count()
}

pub(super) fn claim(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    owner: &str,
    start: Start,
    now: Timestamp,
    lease_ms: u64,
    bounds: &Bounds,
) -> Result<Claimed, StoreError> {
    let known = holder(to, consumer)?;
    if let Some(lease) = known.as_ref().and_then(|holder| holder.lease.as_ref())
        && lease.owner != owner
    {
        refuse_while_held(consumer, lease, now)?;
    }
    let (created, start) = match &known {
        Some(holder) => (holder.created, holder.start),
        None => create(to, consumer, start, now, bounds)?,
    };
    let number = next_fence(to)?;
    to.execute(
        "UPDATE fedmsg_consumers SET owner = ?2, lease_ms = ?3, lease_until = ?4, fence = ?5
         WHERE name = ?1",
        &[
            consumer.as_str().into(),
            owner.into(),
            lease_ms.into(),
            check::lease_end(now, lease_ms).into(),
            number.into(),
        ],
    )?;
    Ok(Claimed { created, start, fence: Fence::new(consumer.clone(), number) })
}

fn create(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    start: Start,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<(Timestamp, Start), StoreError> {
    let there = only(to, "SELECT count(*) FROM fedmsg_consumers", &[])?.count()?;
    if there >= bounds.consumers {
        return Err(StoreError::Full { what: "consumers", bound: bounds.consumers });
    }
    to.execute(
        "INSERT INTO fedmsg_consumers (name, created, start, owner, lease_ms, lease_until, fence)
         VALUES (?1, ?2, ?3, NULL, 0, 0, 0)",
        &[consumer.as_str().into(), now.into(), start.to_string().as_str().into()],
    )?;
    Ok((now, start))
}

/// Whether the fence is still in force: what every write of an owner asks first.
pub(super) fn hold(to: &mut dyn Statements, fence: &Fence) -> Result<u64, StoreError> {
    match holder(to, &fence.consumer)? {
        Some(holder) if holder.fence == fence.number && holder.lease.is_some() => {
            Ok(holder.lease_ms)
        }
        _ => Err(fenced(fence)),
    }
}

fn fenced(fence: &Fence) -> StoreError {
    StoreError::Fenced { consumer: fence.consumer.clone(), fence: fence.number }
}

pub(super) fn renew(
    to: &mut dyn Statements,
    fence: &Fence,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let until = check::lease_end(now, hold(to, fence)?);
    to.execute(
        "UPDATE fedmsg_consumers SET lease_until = ?2 WHERE name = ?1",
        &[fence.consumer.as_str().into(), until.into()],
    )?;
    Ok(until)
}

pub(super) fn release(to: &mut dyn Statements, fence: &Fence) -> Result<(), StoreError> {
    // The fence stays, so that asking again, after an answer that was lost, is no error.
    let changed = to.execute(
        "UPDATE fedmsg_consumers SET owner = NULL WHERE name = ?1 AND fence = ?2",
        &[fence.consumer.as_str().into(), fence.number.into()],
    )?;
    if changed == 0 { Err(fenced(fence)) } else { Ok(()) }
}

pub(super) fn evict(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
) -> Result<Option<Lease>, StoreError> {
    let holder = known(to, consumer)?;
    fence_off(to, consumer)?;
    Ok(holder.lease)
}

/// Lets people change a consumer that nobody runs; whoever ran it cannot write any more.
pub(super) fn take_from_nobody(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(lease) = &known(to, consumer)?.lease {
        refuse_while_held(consumer, lease, now)?;
    }
    fence_off(to, consumer)
}

/// Whether there is such a consumer.
pub(super) fn must_exist(
    to: &mut dyn Statements,
    consumer: &ConsumerName,
) -> Result<(), StoreError> {
    known(to, consumer).map(drop)
}

fn known(to: &mut dyn Statements, consumer: &ConsumerName) -> Result<Holder, StoreError> {
    holder(to, consumer)?.ok_or_else(|| StoreError::NoConsumer(consumer.clone()))
}

fn fence_off(to: &mut dyn Statements, consumer: &ConsumerName) -> Result<(), StoreError> {
    let number = next_fence(to)?;
    to.execute(
        "UPDATE fedmsg_consumers SET owner = NULL, fence = ?2 WHERE name = ?1",
        &[consumer.as_str().into(), Value::from(number)],
    )?;
    Ok(())
}

fn refuse_while_held(
    consumer: &ConsumerName,
    lease: &Lease,
    now: Timestamp,
) -> Result<(), StoreError> {
    if lease.until <= now {
        return Ok(());
    }
    let (consumer, owner) = (consumer.clone(), lease.owner.clone());
    Err(StoreError::Held { consumer, owner, until: lease.until })
}
