//! Where each value comes from: what `fedmsg config show --origin` prints.

use std::fmt;
use std::path::Path;

use super::document::{Table, Value, dotted};
use super::journal_section::JournalSection;
use super::settings::{PublisherSection, RelaySection};
use crate::consumer;
use crate::trust::Trust;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The dotted key.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// `file:line`, `environment NAME`, `flag KEY`, `zero configuration:line` or `default`.
    pub origin: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}

/// Every value of the merged files, and the defaults of what they do not say.
pub(super) fn list(
    root: &Table,
    trust: &Trust,
    publisher: &PublisherSection,
    journal: &JournalSection,
    relay: &RelaySection,
    state_dir: &Path,
    state_origin: Option<String>,
) -> Vec<Origin> {
    let mut all = Vec::new();
    add_table(&mut all, root, "");
    let text = |text: &str| toml::Value::from(text).to_string();
    let state = text(&state_dir.to_string_lossy());
    let naming = &trust.naming;
    let defaults = [
        ("bus.topic_prefix", text(naming.prefix())),
        ("bus.environment", text(naming.environment())),
        ("publisher.level", text(&publisher.level.to_string())),
        ("publisher.copies_wait_ms", publisher.copies_wait_ms.to_string()),
        ("publisher.on_unreachable", text(publisher.on_unreachable.as_str())),
        ("publisher.slow_subscriber_wait_ms", publisher.slow_subscriber_wait_ms.to_string()),
        ("publisher.seal_interval_us", publisher.seal_interval_us.to_string()),
        ("publisher.queue_messages", publisher.queue_messages.to_string()),
        ("publisher.queue_bytes", publisher.queue_bytes.to_string()),
        ("publisher.outbox_bytes", publisher.outbox_bytes.to_string()),
        ("relay.keep_bytes", relay.keep_bytes.to_string()),
        ("relay.keep_ms", relay.keep_ms.to_string()),
        ("subscribe.from", "[\"*\"]".into()),
    ];
    let default = |(key, value)| (key, value, "default".to_string());
    let state = ("bus.state_dir", state, state_origin.unwrap_or_else(|| "default".into()));
    let journal = journal.values().map(|(key, value)| (key, value.to_string()));
    let defaults = defaults.into_iter().chain(journal).map(default);
    for (key, value, origin) in defaults.chain([state]) {
        if !all.iter().any(|known| known.key == key) {
            all.push(Origin { key: key.into(), value, origin });
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

fn add_table(all: &mut Vec<Origin>, table: &Table, path: &str) {
    for (key, entry) in table {
        let key = dotted(path, key);
        match &entry.node.value {
            Value::Table(table) => add_table(all, table, &key),
            Value::List(list) if !list.is_empty() && entry.node.value.is_tables() => {
                for (at, node) in list.iter().enumerate() {
                    let Value::Table(table) = &node.value else { continue };
                    add_table(all, table, &format!("{key}[{at}]"));
                }
            }
            value => {
                let origin = entry.place.origin();
                all.push(Origin { key, value: shown(value), origin });
            }
        }
    }
}

/// The value as TOML. The password of a server is left out, under whatever key: one that is misspelt is shown,
/// too.
fn shown(value: &Value) -> String {
    let text = value.render();
    if text.contains("postgres") { consumer::without_password(&text) } else { text }
}
