//! What became of rows that another process was offered and did not settle: its journal knows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::statements::{Offered, RowMessage};
use crate::clock::Clock;
use crate::envelope::Wire;
use crate::identity::StreamName;
use crate::journal::{Body, JournalError, OsDisk, Range, Reader};
use crate::limits::{
    JOURNAL_BATCH_BYTES_MAX, JOURNAL_BATCH_RECORDS_MAX, MSG_ID_MS_MAX, OUTBOX_TABLE_SLACK_MS,
};
use crate::publisher::Publisher;
use crate::record::Level;
use crate::timestamp::Timestamp;

/// What is known of rows that were offered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// They are in the journal that they were offered to.
    pub published: Vec<(i64, String)>,
    /// They are not, or the publisher itself knows of them: to give them to it once more is harmless.
    pub open: Vec<i64>,
    /// The journal is of another host, or cannot be read: nobody here knows.
    pub unknown: Vec<i64>,
}

/// Looks into the journals to which these rows were offered. That of the publisher itself is looked into when its
/// process is new (`is_new`); what was offered to it since then it knows itself, and better: the disk may owe it an
/// answer.
pub(super) fn look(publisher: &Publisher, rows: Vec<Offered>, is_new: bool) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut streams: HashMap<String, Vec<Offered>> = HashMap::new();
    for row in rows {
        streams.entry(row.stream.clone()).or_default().push(row);
    }
    for (name, rows) in streams {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let stream = StreamName::parse(&name).ok();
        let is_own = stream.as_ref() == Some(&publisher.stream());
        if is_own && !is_new {
            verdicts.open.extend(ids);
            continue;
        }
        let found = stream.map(|stream| publisher.journal_of(&stream));
        let found = found.filter(|folder| folder.is_dir()).map(|folder| find(&folder, &rows));
        let asks_again = is_own && matches!(publisher.level(), Level::Replicated(_));
        match found {
            Some(Ok(published)) => {
                let (published, again) = split(published, &rows, asks_again, Clock::wall());
                verdicts.open.extend(again);
                verdicts.published.extend(published);
            }
            None if is_own => verdicts.open.extend(ids),
            None => {
                tracing::warn!(
                    stream = name,
                    rows = ids.len(),
                    "rows were offered to a stream of another host, and are published again: readers may see them twice, by the same msg_id"
                );
                verdicts.unknown.extend(ids);
            }
            Some(Err(error)) => {
                tracing::warn!(stream = name, rows = ids.len(), %error,
                    "rows were offered to a stream whose journal cannot be read, and are published again: readers may see them twice, by the same msg_id");
                verdicts.unknown.extend(ids);
            }
        }
    }
    verdicts
}

/// What is published of these rows, and what is to be given to the publisher once more: what is not in the journal; and
/// what is, but has perhaps not all of the copies that a receipt stands for, as long as the publisher will know it by
/// its identifier. Then it asks for them, and numbers nothing twice.
fn split(
    found: Vec<(i64, String)>,
    rows: &[Offered],
    asks_again: bool,
    now: Timestamp,
) -> (Vec<(i64, String)>, Vec<i64>) {
    let found: HashMap<i64, String> = found.into_iter().collect();
    let mut published = Vec::new();
    let mut again = Vec::new();
    for Offered { id, at, .. } in rows {
        let is_known = now.millis_since(*at) < MSG_ID_MS_MAX as i64 / 2;
        match found.get(id) {
            Some(msg_id) if !(asks_again && is_known) => published.push((*id, msg_id.clone())),
            _ => again.push(*id),
        }
    }
    (published, again)
}

/// Which of these rows are in this journal.
fn find(folder: &Path, rows: &[Offered]) -> Result<Vec<(i64, String)>, JournalError> {
    let mut wanted: HashMap<&str, (i64, &RowMessage)> = HashMap::new();
    for row in rows {
        if let Ok(message) = &row.message {
            wanted.insert(&message.msg_id, (row.id, message));
        }
    }
    let Some(since) = rows.iter().map(|row| row.at.as_millis()).min() else {
        return Ok(Vec::new());
    };
    let since = Timestamp::from_millis(since.saturating_sub(OUTBOX_TABLE_SLACK_MS as i64));
    let mut published = Vec::new();
    let mut reader = Reader::new(Arc::new(OsDisk), folder);
    let Some((epoch, i)) = reader.find(since)? else { return Ok(published) };
    let ranges = reader.ranges()?;
    for Range { epoch: of, first, last } in ranges.into_iter().filter(|range| range.epoch >= epoch)
    {
        let mut from = if of == epoch { first.max(i) } else { first };
        while from <= last && !wanted.is_empty() {
            let (records, bytes) = (JOURNAL_BATCH_RECORDS_MAX, JOURNAL_BATCH_BYTES_MAX);
            let batch = reader.read(of, from, last, records, bytes)?;
            for entry in batch.entries {
                let Body::Record(wire) = &entry.body else { continue };
                published.extend(take(&mut wanted, wire));
            }
            if batch.upto < from {
                break;
            }
            from = batch.upto + 1;
        }
    }
    Ok(published)
}

/// The row whose message this record is. One of the same identifier with something else in it is another message.
fn take(wanted: &mut HashMap<&str, (i64, &RowMessage)>, wire: &Wire) -> Option<(i64, String)> {
    #[derive(Deserialize)]
    struct Published<'a> {
        #[serde(borrow)]
        msg_id: Cow<'a, str>,
        #[serde(borrow)]
        msg: &'a RawValue,
    }
    let Published { msg_id, msg } = serde_json::from_slice(&wire.envelope).ok()?;
    let topic = std::str::from_utf8(&wire.topic).ok()?;
    let (_, message) = wanted.get(&*msg_id)?;
    let rest = topic.strip_suffix(message.topic.as_str())?;
    let is_same = (rest.is_empty() || rest.ends_with('.')) && is_body(&message.body, msg.get());
    if !is_same {
        return None;
    }
    wanted.remove(&*msg_id).map(|(id, _)| (id, msg_id.into_owned()))
}

/// Whether this is how the body was published: without the white space around it, and on one line.
fn is_body(body: &str, published: &str) -> bool {
    body.trim_ascii().chars().filter(|c| *c >= ' ').eq(published.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(topic: &str, msg_id: &str, msg: &str) -> Wire {
        let envelope = format!(r#"{{"v":1,"topic":"{topic}","msg_id":"{msg_id}","msg":{msg}}}"#);
        Wire { topic: topic.to_owned().into(), envelope: envelope.into() }
    }

    #[test]
    fn what_was_found_is_asked_for_again_where_copies_were_promised_and_the_publisher_still_knows_it()
     {
        let hour = 3_600_000;
        let row = |id: i64, hours: i64| Offered {
            id,
            stream: "app.one/0".into(),
            at: Timestamp::from_millis(-hours * hour),
            message: Err("of no interest".into()),
        };
        let rows = [row(1, 0), row(2, 0), row(3, 30)];
        let found = || vec![(1, "a".to_owned()), (3, "c".to_owned())];
        let now = Timestamp::from_millis(1);
        assert_eq!(split(found(), &rows, false, now), (found(), vec![2]));
        assert_eq!(split(found(), &rows, true, now), (vec![(3, "c".to_owned())], vec![1, 2]));
    }

    #[test]
    fn a_record_is_that_of_a_row_when_identifier_topic_and_body_are() {
        let row = RowMessage {
            msg_id: "a".into(),
            topic: "app.made".into(),
            body: "{\"n\":\n 1}\n".into(),
            headers: Default::default(),
            username: None,
        };
        for (topic, msg_id, msg, is_row) in [
            ("org.example.dev.app.made", "a", "{\"n\": 1}", true),
            ("app.made", "a", "{\"n\": 1}", true),
            ("org.example.dev.app.made", "b", "{\"n\": 1}", false),
            ("org.example.dev.app.made", "a", "{\"n\": 2}", false),
            ("org.example.dev.xapp.made", "a", "{\"n\": 1}", false),
            ("org.example.dev.app.gone", "a", "{\"n\": 1}", false),
        ] {
            let mut wanted = HashMap::from([("a", (7, &row))]);
            let found = take(&mut wanted, &wire(topic, msg_id, msg));
            assert_eq!(found, is_row.then(|| (7, "a".to_owned())), "{topic} {msg_id} {msg}");
            assert_eq!(wanted.is_empty(), is_row);
        }
        let mut wanted = HashMap::from([("a", (7, &row))]);
        let garbage = Wire { topic: "x".into(), envelope: "{".into() };
        assert_eq!(take(&mut wanted, &garbage), None);
    }
}
