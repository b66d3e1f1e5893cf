//! `fedmsg consumer show`.

use clap::Args;
use fedmsg::config::Config;
use fedmsg::consumer::{
    ConsumerName, Cursor, CursorStore, DeadLetter, LetterFilter, Page, Summary,
};
use fedmsg::escape::escape;
use fedmsg::limits::FAILURES_PAGE_MAX;
use fedmsg::timestamp::Timestamp;
use fedmsg_tool::Code;
use serde_json::{Value, json};

use super::lag::{Asking, Lags, cells, describe, lags};
use super::list::{line, object};
use super::{Error, now, running};
use crate::config::print;
use crate::streams::table;

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg consumer show badges
  fedmsg consumer show badges --letters                 what was given up, one line each
  fedmsg consumer show badges --json | jq .cursors

Shows where it began, who runs it, its cursor in each stream (that number is done, and all before it), how many
messages it is behind there and since when the next one waits, and how many messages are refused, wait for another
try, or were given up. How far a stream is, is read from the journals of this host, or said by its holders; where
nobody says it, it is `unknown`, and why. All messages of a stream count, also those that the consumer does not want;
a stream in which it has no cursor yet is not shown. With --letters: number, place, topic, how
often it was tried, and the last error of each dead letter; with --json, too, an object each.

Exit codes: 0 success · 1 failure, or no such consumer · 2 wrong command line";

#[derive(Args)]
pub(super) struct Options {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,

    /// Its dead letters instead
    #[arg(long)]
    letters: bool,

    #[command(flatten)]
    asking: Asking,

    /// JSON: one object, or one for each dead letter
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    options: &Options,
    store: &mut dyn CursorStore,
    config: &Config,
) -> Result<Code, Error> {
    let summary = store.show(&options.name)?;
    if options.letters {
        let mut lines = Vec::new();
        each_letter(store, &options.name, &LetterFilter::default(), |letter| {
            lines.push(match options.json {
                true => line(&letter_object(letter)),
                false => letter_line(letter),
            });
        })?;
        print(lines)?;
        return Ok(Code::Ok);
    }
    let cursors = store.load(&options.name)?;
    let (lags, now) = (lags(&options.asking, config, &cursors)?.unwrap_or_default(), now());
    print(match options.json {
        true => vec![line(&whole(&summary, &cursors, &lags, now))],
        false => block(&summary, &cursors, &lags, now),
    })?;
    Ok(Code::Ok)
}

/// All dead letters that fit, page by page: one page at a time is in memory.
pub(super) fn each_letter(
    store: &mut dyn CursorStore,
    name: &ConsumerName,
    filter: &LetterFilter,
    mut each: impl FnMut(&DeadLetter),
) -> Result<(), Error> {
    let mut after = 0;
    loop {
        let page = store.dead_letters(name, filter, Page { after, limit: FAILURES_PAGE_MAX })?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        page.iter().for_each(&mut each);
    }
}

fn block(summary: &Summary, cursors: &[Cursor], lags: &Lags, now: Timestamp) -> Vec<String> {
    let run_by = match running(summary.lease.as_ref(), now) {
        Some(lease) => format!("{}, until {} at least", escape(&lease.owner), lease.until),
        None => "nobody".into(),
    };
    let dropped = |dropped| match dropped {
        0 => String::new(),
        dropped => format!(", {dropped} found no room"),
    };
    let mut lines = vec![
        format!("consumer  {}", summary.consumer),
        format!("created   {}", summary.created),
        format!("start     {}", summary.start),
        format!("run by    {run_by}"),
        format!("refused   {}{}", summary.refusals, dropped(summary.refusals_dropped)),
        format!("retries   {}", summary.retries),
        format!("dead      {}{}", summary.letters, dropped(summary.letters_dropped)),
    ];
    if !cursors.is_empty() {
        let mut rows = vec![
            ["STREAM", "EPOCH", "DONE", "MOVED", "BEHIND", "WAITS"].map(String::from).to_vec(),
        ];
        rows.extend(cursors.iter().map(|cursor| {
            let at = &cursor.position;
            let updated = cursor.updated.to_string();
            let [behind, waits] = cells(lags.get(at), now);
            let (stream, epoch, i) =
                (at.stream.to_string(), at.epoch.to_string(), at.i.to_string());
            vec![stream, epoch, i, updated, behind, waits]
        }));
        lines.push(String::new());
        lines.extend(table(&rows));
    }
    lines
}

fn whole(summary: &Summary, cursors: &[Cursor], lags: &Lags, now: Timestamp) -> Value {
    let cursors = cursors.iter().map(|cursor| {
        let at = &cursor.position;
        let mut object = json!({
            "stream": at.stream.as_str(), "epoch": at.epoch.to_string(), "i": at.i,
            "leaf": cursor.leaf, "moved": cursor.updated.to_string(),
        });
        describe(lags.get(at), &mut object);
        object
    });
    let cursors = cursors.collect();
    let mut object = object(summary, now);
    if let Value::Object(members) = &mut object {
        members.insert("cursors".into(), cursors);
    }
    object
}

fn letter_line(letter: &DeadLetter) -> String {
    let failure = &letter.failure;
    let at = &failure.position;
    let error = escape(&failure.error);
    format!(
        "{} {} {} number {} of {}, {} tried, {error}",
        letter.id,
        letter.died,
        failure.topic.as_str(),
        at.i,
        at.stream,
        failure.attempts
    )
}

fn letter_object(letter: &DeadLetter) -> Value {
    let failure = &letter.failure;
    let at = &failure.position;
    json!({
        "id": letter.id,
        "stream": at.stream.as_str(),
        "epoch": at.epoch.to_string(),
        "i": at.i,
        "topic": failure.topic.as_str(),
        "attempts": failure.attempts,
        "error": failure.error,
        "first_failed": letter.first_failed.to_string(),
        "died": letter.died.to_string(),
        "envelope": String::from_utf8_lossy(&failure.envelope),
    })
}
