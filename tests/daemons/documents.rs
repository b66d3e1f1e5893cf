//! The documents and the alert rules name what is served.

use std::collections::BTreeSet;

use fedmsg::durable::DurableMetrics;
use fedmsg::journal::JournalMetrics;
use fedmsg::outbox_table::OutboxTableMetrics;
use fedmsg::publisher::PublisherMetrics;
use fedmsg::subscriber::SubscriberMetrics;
use fedmsg_tool::metrics::Metrics;

use super::*;

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The rows of what is served: name, kind, help, as the document has them.
fn served(text: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let help = |name: &str| {
        let start = format!("# HELP {name} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).expect("help").to_owned()
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("name and kind");
        let end = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        rows.insert(format!("| `{name}{end}` | {kind} | {} |", help(name)));
    }
    rows
}

/// What an archive, a tail, and services with the library serve.
fn all_served() -> BTreeSet<String> {
    let bus = Bus::new(&["relay.one"]);
    let entry = bus.entry_path("relay.one");
    let text = fs::read_to_string(&entry).expect("its entry") + "archive = true\n";
    atomically(&entry, &text);
    let relay = Served::start(&bus, "fedmsg-relay", &[], None);
    let tail = Served::start(&bus, "fedmsg-tail", &[], None);
    let mut rows = served(&relay.says("/metrics", 200, "fedmsg_subscriber_turns"));
    rows.extend(served(&tail.says("/metrics", 200, "fedmsg_tail_messages")));
    let mut metrics = Metrics::default();
    let (mut publisher, mut durable) = (PublisherMetrics::default(), DurableMetrics::default());
    publisher.journal = Some(JournalMetrics::default());
    durable.reader = Some(SubscriberMetrics::default());
    metrics.add(&publisher);
    metrics.add(&durable);
    metrics.add(&OutboxTableMetrics::default());
    rows.extend(served(&metrics.render()));
    rows
}

#[test]
fn the_document_and_the_alerts_name_what_is_served() {
    let served = all_served();
    let document: BTreeSet<String> =
        documented(&repository("docs/metrics.md")).into_iter().collect();
    let missing: Vec<_> = served.difference(&document).collect();
    let invented: Vec<_> = document.difference(&served).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "in docs/metrics.md\nmissing: {missing:#?}\ninvented: {invented:#?}"
    );
    let names: BTreeSet<&str> = served.iter().filter_map(|row| row.split('`').nth(1)).collect();
    alerts_use(&names);
}

fn alerts_use(names: &BTreeSet<&str>) {
    let text = fs::read_to_string(repository("alerts/fedmsg.rules.yaml")).expect("alerts");
    let rules: Value = serde_saphyr::from_str(&text).expect("YAML");
    let daemons = fs::read_to_string(repository("docs/daemons.md")).expect("docs/daemons.md");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() > 10, "there are alerts");
    for rule in rules {
        let alert = rule["alert"].as_str().expect("a name");
        let expression = rule["expr"].as_str().expect("an expression");
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("fedmsg_")) {
            assert!(names.contains(word), "{alert}: there is no metric {word}");
        }
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("page" | "warn")), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].is_string(), "{alert}: no {annotation}");
        }
        assert!(daemons.contains(&format!("`{alert}`")), "{alert} is not in docs/daemons.md");
    }
}

/// What a document's tables say of each metric: name, kind, meaning.
fn documented(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the document");
    text.lines().filter(|line| line.starts_with("| `fedmsg_")).map(str::to_owned).collect()
}
