//! All streams: a table for people, an object for scripts.

use std::collections::BTreeMap;

use fedmsg::escape::{escape, escape_json};
use fedmsg::frames::{Completeness, Range};
use fedmsg::{Endpoint, Identity, StreamName};
use serde_json::{Value, json};

use super::text::age;
use super::view::{Lagging, Seen, View};
use crate::config::counted;
use crate::stream::Stand;

pub(super) fn rows(view: &View) -> Vec<Vec<String>> {
    let heads = [
        "STREAM",
        "EPOCH",
        "LAST",
        "SAID",
        "LEVEL",
        "STATE",
        "AGE",
        "VIA",
        "HOLDERS",
        "CONSUMERS",
        "CONFIG",
    ];
    let mut rows = vec![heads.map(String::from).to_vec()];
    rows.extend(view.streams.iter().map(|(name, seen)| row(view, name, seen)));
    rows
}

fn row(view: &View, name: &StreamName, seen: &Seen) -> Vec<String> {
    let none = || "-".to_owned();
    let (epoch, last) = seen
        .end()
        .map_or_else(|| (none(), none()), |(epoch, last)| (epoch.to_string(), last.to_string()));
    let said = seen.last.as_ref().map(|said| age(view.now.millis_since(said.at)));
    let beat = match seen.newest() {
        None => [none(), none(), none(), none()],
        Some(newest) => {
            let differs = if newest.beat.config == view.config.digest { "" } else { " !" };
            [
                newest.beat.level.to_string(),
                newest.beat.state.to_string(),
                age(view.now.millis_since(newest.at)),
                format!("{}{differs}", escape(&newest.beat.config)),
            ]
        }
    };
    let [level, state, heard, config] = beat;
    let via: Vec<&str> = seen.via().collect();
    let via = if via.is_empty() { none() } else { via.join(",") };
    let holders = cell(holders_of(view, seen).map(|(name, has)| brief(&name, has)));
    let behind = seen.floors.values().filter(|lagging| lagging.behind > 0);
    let consumers =
        cell(behind.map(|lagging| {
            format!("{} +{}", escape(lagging.said.consumer.as_str()), lagging.behind)
        }));
    let name = name.to_string();
    vec![
        name,
        epoch,
        last,
        said.unwrap_or_else(none),
        level,
        state,
        heard,
        via,
        holders,
        consumers,
        config,
    ]
}

fn cell(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

/// What one holder has.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) completeness: Completeness,
    pub(super) epochs: &'a [Range],
    /// Messages that it lacks of those that others have.
    pub(super) lacks: u64,
}

/// Everybody who has something of a stream.
pub(super) fn holders_of<'a>(
    view: &'a View,
    seen: &'a Seen,
) -> impl Iterator<Item = (String, Held<'a>)> {
    seen.stands
        .iter()
        .filter_map(|(holder, stand)| Some((view.holder_name(holder), held(seen, stand)?)))
}

pub(super) fn held<'a>(seen: &Seen, stand: &'a Stand) -> Option<Held<'a>> {
    let Stand::Has { completeness, epochs, .. } = stand else { return None };
    let lacks = View::lacks(seen, epochs);
    Some(Held { completeness: *completeness, epochs, lacks })
}

fn brief(name: &str, held: Held<'_>) -> String {
    let lacks = match held.lacks {
        0 => String::new(),
        lacks => format!(" -{lacks}"),
    };
    let partial = match held.completeness {
        Completeness::Complete => "",
        Completeness::Partial => " partial",
    };
    format!("{}{lacks}{partial}", escape(name))
}

/// All that is known of a stream. The members that were there first keep their meaning; what was not heard is null.
pub(super) fn object(view: &View, name: &StreamName, seen: &Seen) -> String {
    let end = seen.end();
    let via: Vec<&str> = seen.via().collect();
    let mut object = json!({
        "stream": name.as_str(),
        "epoch": end.map(|(epoch, _)| epoch.to_string()),
        "last": end.map(|(_, last)| last),
        "heard": seen.heard.is_some(),
        "endpoints": via,
        "last_time": seen.last.as_ref().map(|said| said.at.to_string()),
        "last_topic": seen.last.as_ref().map(|said| &said.topic),
        "holders": holders(view, seen),
        "consumers": seen.floors.values().map(consumer).collect::<Vec<_>>(),
    });
    match seen.newest() {
        Some(newest) => {
            let beat = newest.beat;
            object["first"] = beat.first.into();
            object["head"] = json!(beat.head);
            object["level"] = json!(beat.level);
            object["state"] = json!(beat.state);
            object["age_ms"] = view.now.millis_since(newest.at).into();
            object["config"] = beat.config.as_str().into();
            object["config_differs"] = (beat.config != view.config.digest).into();
        }
        None => {
            for member in ["first", "head", "level", "state", "age_ms", "config"] {
                object[member] = Value::Null;
            }
            object["config_differs"] = false.into();
        }
    }
    escape_json(&object.to_string()).into_owned()
}

/// Everybody who has it or should have it, and this host.
fn holders(view: &View, seen: &Seen) -> Vec<Value> {
    let one = |name: String, address: Option<&Endpoint>, stand: &Stand| {
        let mut object = json!({ "holder": name, "address": address.map(ToString::to_string) });
        match stand {
            Stand::Silent => object["answer"] = "none".into(),
            Stand::Nothing(why) => {
                (object["answer"], object["error"]) = ("error".into(), why.as_str().into());
            }
            Stand::Has { completeness, epochs, .. } => {
                let epoch = |range: &Range| json!({ "epoch": range.epoch.to_string(), "first": range.first, "last": range.last });
                object["answer"] = "info".into();
                object["completeness"] = completeness.name().into();
                object["epochs"] = epochs.iter().map(epoch).collect();
                object["lacks"] = View::lacks(seen, epochs).into();
            }
        }
        object
    };
    let here = seen.here.iter().map(|stand| one("here".into(), None, stand));
    let others = seen.stands.iter();
    let others = others.map(|(holder, stand)| one(view.holder_name(holder), Some(holder), stand));
    here.chain(others).collect()
}

fn consumer(lagging: &Lagging) -> Value {
    let said = &lagging.said;
    json!({
        "consumer": said.consumer.as_str(),
        "epoch": said.epoch.to_string(),
        "upto": said.upto,
        "age_ms": said.age_ms,
        "behind": lagging.behind,
        "behind_since": lagging.since.map(|since| since.to_string()),
    })
}

/// How many streams there are, which ones see another configuration, and who did not answer.
pub(super) fn summary(view: &View) -> Vec<String> {
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, seen) in &view.streams {
        if let Some(newest) =
            seen.newest().filter(|newest| newest.beat.config != view.config.digest)
        {
            others.entry(&newest.beat.config).or_default().push(name.as_str());
        }
    }
    let (count, digest) = (counted(view.streams.len(), "stream"), &view.config.digest);
    let first = match others.is_empty() {
        true => format!("{count}, all with the configuration seen here, {digest}"),
        false => {
            let others = others.iter();
            let others = others.map(|(config, names)| format!("{config} ({})", names.join(", ")));
            let others: Vec<String> = others.collect();
            format!("{count}; not the configuration seen here, {digest}: {}", others.join("; "))
        }
    };
    let silent: Vec<String> = view
        .holders
        .iter()
        .filter(|(_, answered)| !**answered)
        .map(|(holder, _)| view.holder_name(holder))
        .collect();
    let silent = (!silent.is_empty()).then(|| format!("no answer from {}", silent.join(", ")));
    [first].into_iter().chain(silent).collect()
}

impl Seen {
    /// Whether anybody knows anything of it.
    pub(super) fn is_known(&self) -> bool {
        let has = |stand: &Stand| matches!(stand, Stand::Has { .. });
        self.heard.is_some() || self.all_stands().any(has)
    }

    /// The endpoints that it was heard from.
    pub(super) fn via(&self) -> impl Iterator<Item = &str> {
        let heard = self.heard.iter();
        heard.flat_map(|heard| heard.endpoints.iter().map(Identity::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hearing::tests::heard;
    use super::super::text::table;
    use super::super::view::tests::{epoch, has, range};
    use super::*;
    use crate::config::tests::config;
    use fedmsg::frames::{Acknowledged, Word};
    use fedmsg::timestamp::Timestamp;
    use std::sync::Arc;

    fn name(text: &str) -> StreamName {
        StreamName::parse(text).expect("stream")
    }

    fn view() -> View {
        let config = config(&[(
            "bus.toml",
            "[endpoints.\"bodhi.h\"]\npublish = \"tcp://h:1\"\nreplay = [\"tcp://h:2\", \"tcp://h:3\"]\n",
        )]);
        let digest = config.digest.clone();
        let mut view = View {
            config: Arc::new(config),
            now: Timestamp::from_millis(2_000),
            streams: BTreeMap::new(),
            holders: BTreeMap::new(),
            unasked: Default::default(),
            waits: BTreeMap::new(),
        };
        let mut first =
            Seen { heard: Some(heard(1, 7, 1_000, "bodhi.h", &digest)), ..Seen::default() };
        let at = |port| Endpoint::parse(&format!("tcp://h:{port}")).expect("an address");
        first.stands.insert(at(2), has(Completeness::Complete, &[range(1, 1, 7)]));
        first.stands.insert(at(3), has(Completeness::Partial, &[range(1, 1, 4)]));
        let consumer = Word::parse("badges").expect("a word");
        first.add_floors(&[Acknowledged { consumer, epoch: epoch(1), upto: 2, age_ms: 70 }]);
        let second = heard(1, 3, 1_500, "koji.h", "theirs\u{1b}");
        view.streams.insert(name("bodhi.h/0"), first);
        view.streams.insert(name("koji.h/0"), Seen { heard: Some(second), ..Seen::default() });
        view.holders.insert(at(2), true);
        view.holders.insert(at(3), false);
        view
    }

    #[test]
    fn another_configuration_is_marked_named_and_escaped() {
        let view = view();
        let lines = table(&rows(&view));
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("1.0s") && !lines[1].ends_with('!'), "{}", lines[1]);
        assert!(lines[2].ends_with(r"theirs\u{1b} !"), "{}", lines[2]);
        let told = summary(&view);
        assert!(told[0].starts_with("2 streams; ") && told[0].contains("(koji.h/0)"), "{told:?}");
        assert_eq!(told[1], "no answer from bodhi.h/1");
        let (name, seen) = view.streams.iter().next().expect("a stream");
        let object: Value = serde_json::from_str(&object(&view, name, seen)).expect("JSON");
        assert_eq!((&object["config_differs"], &object["age_ms"]), (&false.into(), &1_000.into()));
    }

    #[test]
    fn who_keeps_it_who_lacks_what_and_who_lags_is_shown() {
        let view = view();
        let lines = table(&rows(&view));
        assert!(lines[1].contains("bodhi.h/0, bodhi.h/1 -3 partial"), "{}", lines[1]);
        assert!(lines[1].contains("badges +5"), "{}", lines[1]);
        let (name, seen) = view.streams.iter().next().expect("a stream");
        let object: Value = serde_json::from_str(&object(&view, name, seen)).expect("JSON");
        assert_eq!(object["holders"][1]["lacks"], 3);
        assert_eq!(object["holders"][1]["completeness"], "partial");
        assert_eq!(object["consumers"][0]["consumer"], "badges");
        assert_eq!(object["consumers"][0]["behind"], 5);
    }
}
