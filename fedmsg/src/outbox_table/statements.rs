//! What is said to either database, and what comes back.

use std::collections::BTreeMap;

use super::schema::Dialect;
use crate::consumer::StoreError;
use crate::consumer::check::error_text;
use crate::consumer::sql::row::{Row, Value};
use crate::consumer::sql::{Statements, only};
use crate::limits::{
    OUTBOX_TABLE_BATCH_BYTES_MAX, OUTBOX_TABLE_BATCH_MAX, OUTBOX_TABLE_COUNT_MAX,
    OUTBOX_TABLE_ROW_BYTES_MAX,
};
use crate::seal::Draft;
use crate::timestamp::Timestamp;

/// A row that is to be published.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: i64,
    /// Or why there is no message in it.
    pub message: Result<RowMessage, String>,
}

/// What a row has of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowMessage {
    pub msg_id: String,
    pub topic: String,
    pub body: String,
    pub headers: BTreeMap<String, String>,
    pub username: Option<String>,
}

impl RowMessage {
    /// What is given to a publisher. The row's identifier makes it harmless to do that again.
    pub fn draft(self) -> Draft {
        let draft = Draft::new(self.topic).raw_body(self.body).msg_id(self.msg_id);
        let draft = match self.username {
            Some(username) => draft.username(username),
            None => draft,
        };
        self.headers.into_iter().fold(draft, |draft, (name, value)| draft.header(name, value))
    }
}

/// Rows that cannot be published, and why.
pub(super) type Aside = Vec<(i64, String)>;

/// What became of rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// They are published: by number and identifier, so that no other row is taken for one of them where a database
    /// was replaced by another.
    pub done: Vec<(i64, String)>,
    /// They cannot be, for these reasons.
    pub aside: Aside,
}

impl Settled {
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.aside.is_empty()
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub waiting: u64,
    pub aside: u64,
    pub oldest: Option<Timestamp>,
}

/// Whether a row waits.
pub(super) fn is_any_waiting(to: &mut dyn Statements) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM fedmsg_outbox WHERE set_aside IS NULL LIMIT 1";
    Ok(!to.query(sql, &[])?.is_empty())
}

/// The next rows that wait, in their order, within the bounds of a batch; and those whose message is too long to be
/// looked at.
///
/// Always from the lowest number on, and never from where the last look ended: where several transactions write at
/// once a row may appear behind others that were published.
pub(super) fn next(
    to: &mut dyn Statements,
    dialect: &Dialect,
) -> Result<(Vec<Waiting>, Aside), StoreError> {
    let sql = dialect.write(
        "SELECT id, {bytes} FROM fedmsg_outbox WHERE set_aside IS NULL ORDER BY id LIMIT ?1",
    );
    let sizes = sizes(to.query(&sql, &[(OUTBOX_TABLE_BATCH_MAX as u64).into()])?)?;
    let (ids, aside) = batch(&sizes);
    let rows = read(to, dialect, &ids)?;
    Ok((rows, aside))
}

fn sizes(rows: Vec<Row>) -> Result<Vec<(i64, u64)>, StoreError> {
    rows.into_iter().map(|mut row| Ok((row.int()?, row.count()?))).collect()
}

/// Which of these rows are read, by their sizes: as many as there is room for, and one at least; and which are too
/// long.
fn batch(sizes: &[(i64, u64)]) -> (Vec<i64>, Aside) {
    let (mut ids, mut aside) = (Vec::new(), Vec::new());
    let mut room = OUTBOX_TABLE_BATCH_BYTES_MAX;
    for (id, bytes) in sizes {
        if *bytes > OUTBOX_TABLE_ROW_BYTES_MAX {
            let most = OUTBOX_TABLE_ROW_BYTES_MAX;
            aside.push((*id, format!("the row has {bytes} bytes, at most {most} are looked at")));
            continue;
        }
        let Some(left) = room.checked_sub(*bytes) else { break };
        room = left;
        ids.push(*id);
    }
    (ids, aside)
}

fn read(
    to: &mut dyn Statements,
    dialect: &Dialect,
    ids: &[i64],
) -> Result<Vec<Waiting>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = dialect.write("SELECT id, {message} FROM fedmsg_outbox WHERE {among} ORDER BY id");
    let rows = to.query(&sql, &[Value::Text(&list(ids))])?;
    let waiting = |mut row: Row| Ok(Waiting { id: row.int()?, message: message(&mut row) });
    rows.into_iter().map(waiting).collect()
}

/// What stands in a row; what makes no sense in it concerns this row alone.
fn message(row: &mut Row) -> Result<RowMessage, String> {
    let mut text = |column: &str| {
        let text = row.or_null(Row::text);
        text.map_err(|_| format!("`{column}` is no text"))
    };
    let (msg_id, topic) = (text("msg_id")?, text("topic")?);
    if msg_id.as_ref().is_some_and(|msg_id| msg_id.chars().any(char::is_control)) {
        return Err("`msg_id` has control characters in it".into());
    }
    let (body, headers) = (text("body")?, text("headers")?);
    let username = text("username")?;
    let headers = headers.map(|headers| serde_json::from_str(&headers)).transpose();
    Ok(RowMessage {
        msg_id: msg_id.unwrap_or_default(),
        topic: topic.unwrap_or_default(),
        body: body.unwrap_or_default(),
        headers: headers
            .map_err(|error| format!("`headers` is no JSON object of texts: {error}"))?
            .unwrap_or_default(),
        username,
    })
}

/// These rows are given to the publisher of this stream now. Until it is known what became of them, this is what
/// whoever takes over goes by.
pub(super) fn offer(
    to: &mut dyn Statements,
    dialect: &Dialect,
    rows: &[Waiting],
    (stream, now): (&str, Timestamp),
) -> Result<(), StoreError> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let sql =
        dialect.write("UPDATE fedmsg_outbox SET offered_to = ?2, offered_at = ?3 WHERE {among}");
    to.execute(&sql, &[Value::Text(&list(&ids)), stream.into(), now.into()])?;
    Ok(())
}

/// Removes what is published, and puts aside what cannot be.
pub(super) fn settle(
    to: &mut dyn Statements,
    dialect: &Dialect,
    settled: &Settled,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !settled.done.is_empty() {
        let (ids, msg_ids): (Vec<i64>, Vec<&str>) =
            settled.done.iter().map(|(id, msg_id)| (*id, msg_id.as_str())).unzip();
        let sql = dialect.write("DELETE FROM fedmsg_outbox WHERE {among} AND {named}");
        let msg_ids = serde_json::Value::from(msg_ids).to_string();
        to.execute(&sql, &[Value::Text(&list(&ids)), Value::Text(&msg_ids)])?;
    }
    for (id, why) in &settled.aside {
        let sql = "UPDATE fedmsg_outbox SET set_aside = ?2, set_aside_at = ?3, offered_to = NULL,
            offered_at = NULL WHERE id = ?1";
        to.execute(sql, &[Value::Int(*id), Value::Text(&plain(why)), now.into()])?;
    }
    Ok(())
}

/// A row of which it is not known whether it was published.
#[derive(Debug)]
pub(super) struct Offered {
    pub id: i64,
    pub stream: String,
    pub at: Timestamp,
    pub message: Result<RowMessage, String>,
}

/// The next rows that were offered to some publisher, within the bounds of a batch.
pub(super) fn offered(
    to: &mut dyn Statements,
    dialect: &Dialect,
) -> Result<Vec<Offered>, StoreError> {
    let sql = dialect.write(
        "SELECT id, {bytes}, offered_to, coalesce(offered_at, 0) FROM fedmsg_outbox
            WHERE set_aside IS NULL AND offered_to IS NOT NULL ORDER BY id LIMIT ?1",
    );
    let rows = to.query(&sql, &[(OUTBOX_TABLE_BATCH_MAX as u64).into()])?;
    let mut places = BTreeMap::new();
    let mut sizes = Vec::new();
    for mut row in rows {
        let (id, bytes) = (row.int()?, row.count()?);
        // A name that is no text names no stream.
        let stream = row.text().unwrap_or_default();
        places.insert(id, (stream, row.time()?));
        sizes.push((id, bytes));
    }
    let (ids, aside) = batch(&sizes);
    let mut offered = Vec::new();
    let read = read(to, dialect, &ids)?.into_iter().map(|row| (row.id, row.message));
    for (id, message) in read.chain(aside.into_iter().map(|(id, why)| (id, Err(why)))) {
        if let Some((stream, at)) = places.remove(&id) {
            offered.push(Offered { id, stream, at, message });
        }
    }
    Ok(offered)
}

/// These rows are as if nobody had been offered them.
pub(super) fn take_back(
    to: &mut dyn Statements,
    dialect: &Dialect,
    ids: &[i64],
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = dialect
        .write("UPDATE fedmsg_outbox SET offered_to = NULL, offered_at = NULL WHERE {among}");
    to.execute(&sql, &[Value::Text(&list(ids))]).map(drop)
}

/// How much waits and is set aside; large numbers are not counted to their end.
pub(super) fn counts(to: &mut dyn Statements) -> Result<Counts, StoreError> {
    let most = || Value::from(OUTBOX_TABLE_COUNT_MAX);
    let count = |to: &mut dyn Statements, is: &str| {
        let sql = format!(
            "SELECT count(*) FROM (SELECT id FROM fedmsg_outbox WHERE set_aside {is} LIMIT ?1) AS counted"
        );
        only(to, &sql, &[most()])?.count()
    };
    let waiting = count(to, "IS NULL")?;
    let aside = count(to, "IS NOT NULL")?;
    let sql = "SELECT CAST(created AS BIGINT) FROM fedmsg_outbox WHERE set_aside IS NULL ORDER BY id LIMIT 1";
    let oldest = to.query(sql, &[])?.into_iter().next();
    let oldest = oldest.map(|mut row| row.time()).transpose()?;
    Ok(Counts { waiting, aside, oldest })
}

/// Numbers with commas between them, as both databases take lists.
pub(super) fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    ids.join(",")
}

/// A reason as it is kept: within its bound, and without characters that a database would not take.
fn plain(why: &str) -> String {
    error_text(why).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_at_least_one_row_and_no_more_than_there_is_room_for() {
        let (room, row) = (OUTBOX_TABLE_BATCH_BYTES_MAX, OUTBOX_TABLE_ROW_BYTES_MAX);
        for (sizes, read, aside) in [
            (vec![], vec![], vec![]),
            (vec![10, 20], vec![0, 1], vec![]),
            (vec![row, room - row, 1], vec![0, 1], vec![]),
            (vec![row, room - row - 1, 2, 1], vec![0, 1], vec![]),
            (vec![row + 1, 10, 1 << 40, 20], vec![1, 3], vec![0, 2]),
        ] {
            let sizes: Vec<(i64, u64)> = (0..).zip(sizes).collect();
            let (ids, too_long) = batch(&sizes);
            let too_long: Vec<i64> = too_long.into_iter().map(|(id, _)| id).collect();
            assert_eq!((ids, too_long), (read, aside), "{sizes:?}");
        }
    }

    #[test]
    fn a_reason_is_kept_without_what_a_database_does_not_take() {
        assert_eq!(plain("a\0b\nc"), "a b c");
        assert_eq!(plain(&"x".repeat(1 << 20)).len(), crate::limits::ERROR_TEXT_BYTES_MAX);
    }

    #[test]
    fn lists_are_numbers_with_commas() {
        assert_eq!(list(&[1, -2, i64::MAX]), "1,-2,9223372036854775807");
    }
}
