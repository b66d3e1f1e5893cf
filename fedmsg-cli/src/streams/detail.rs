//! One stream, for people.

use fedmsg::StreamName;
use fedmsg::escape::escape;

use super::list::held;
use super::text::{age, table};
use super::view::{Seen, View};
use crate::stream::Stand;

pub(super) fn block(view: &View, name: &StreamName, seen: &Seen) -> Vec<String> {
    let mut lines = vec![format!("stream     {name}")];
    if let Some((epoch, last)) = seen.end() {
        lines.push(format!("epoch      {epoch}"));
        lines.push(format!("last       {last}{}", said(view, seen)));
    }
    if let Some(newest) = seen.newest() {
        let beat = newest.beat;
        let config = match beat.config == view.config.digest {
            true => "as seen here".to_owned(),
            false => format!("{}, here it is {}", escape(&beat.config), view.config.digest),
        };
        lines.push(format!("level      {}", beat.level));
        lines.push(format!("state      {}", beat.state));
        lines.push(format!("heartbeat  {} ago", age(view.now.millis_since(newest.at))));
        lines.push(format!("config     {config}"));
    }
    let via: Vec<&str> = seen.via().collect();
    let via = if via.is_empty() { "nobody".into() } else { via.join(", ") };
    lines.push(format!("heard from {via}"));
    lines.push(String::new());
    lines.extend(table(&holders(view, seen)));
    if !seen.floors.is_empty() {
        lines.push(String::new());
        lines.extend(table(&consumers(view, seen)));
    }
    lines
}

fn said(view: &View, seen: &Seen) -> String {
    seen.last.as_ref().map_or_else(String::new, |said| {
        let ago = age(view.now.millis_since(said.at));
        format!(", {} ({ago} ago), {}", said.at, escape(&said.topic))
    })
}

fn holders(view: &View, seen: &Seen) -> Vec<Vec<String>> {
    let heads = ["HOLDER", "ADDRESS", "EPOCH", "FIRST", "LAST", "KEEPS", "LACKS"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let here = seen.here.iter().map(|stand| ("here".to_owned(), "-".to_owned(), stand));
    let others = seen.stands.iter();
    let others =
        others.map(|(holder, stand)| (view.holder_name(holder), holder.to_string(), stand));
    for (name, address, stand) in here.chain(others) {
        let start = vec![name, address];
        match (stand, held(seen, stand)) {
            (Stand::Nothing(why), _) => {
                rows.push([start, vec![escape(why).to_string()]].concat());
            }
            (_, Some(held)) => {
                let many = held.epochs.len();
                for (at, range) in held.epochs.iter().enumerate() {
                    let start = if at == 0 { start.clone() } else { vec![String::new(); 2] };
                    let mut row = vec![
                        range.epoch.to_string(),
                        range.first.to_string(),
                        range.last.to_string(),
                    ];
                    if at + 1 == many {
                        row.extend([held.completeness.name().into(), held.lacks.to_string()]);
                    }
                    rows.push([start, row].concat());
                }
            }
            _ => rows.push([start, vec!["no answer".into()]].concat()),
        }
    }
    rows
}

fn consumers(view: &View, seen: &Seen) -> Vec<Vec<String>> {
    let heads = ["CONSUMER", "EPOCH", "DONE", "BEHIND", "WAITS", "SAID"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(seen.floors.values().map(|lagging| {
        let said = &lagging.said;
        let waits = lagging.since.map(|since| age(view.now.millis_since(since)));
        vec![
            escape(said.consumer.as_str()).to_string(),
            said.epoch.to_string(),
            said.upto.to_string(),
            lagging.behind.to_string(),
            waits.unwrap_or_else(|| "-".into()),
            format!("{} ago", age(i64::try_from(said.age_ms).unwrap_or(i64::MAX))),
        ]
    }));
    rows
}
