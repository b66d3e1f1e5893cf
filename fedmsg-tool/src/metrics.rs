//! Counters and gauges, rendered for whoever collects them: OpenMetrics text, by `prometheus-client`. Pure.
//!
//! The library gives snapshots of its counters; each is a [`Source`] here. A service that has a publisher or a
//! subscriber renders them like this, and serves the text where it serves its own:
//!
//! ```no_run
//! use fedmsg_tool::metrics::Metrics;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = fedmsg::Publisher::new()?;
//! let mut metrics = Metrics::default();
//! metrics.add(&publisher.metrics());
//! let text = metrics.render();
//! # Ok(())
//! # }
//! ```

mod disk;
mod library;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// The content type of what [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that has counters or gauges.
pub trait Source {
    /// Puts all of them, always the same ones.
    fn put(&self, metrics: &mut Metrics);
}

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// Families of counters and gauges, with what they are now.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    families: BTreeMap<&'static str, Family>,
    /// Labels of everything that is put now.
    labels: Labels,
}

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins with 0 when its process does.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Words, as labels.
    Info,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
        }
    }
}

#[derive(Clone, Debug)]
struct Family {
    kind: Kind,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

/// A family as it stands in the documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Description {
    /// Its name, as one asks for it: that of a counter ends in `_total`, that of an info in `_info`.
    pub name: String,
    /// `counter`, `gauge` or `info`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it says.
    pub help: &'static str,
}

impl Metrics {
    /// Adds all that a source has.
    pub fn add(&mut self, source: &(impl Source + ?Sized)) {
        source.put(self);
    }

    /// The same with labels, for a process that has several of a kind.
    pub fn add_labelled(&mut self, labels: &[(&'static str, &str)], source: &impl Source) {
        let before = self.labels.len();
        self.labels.extend(labels.iter().map(|(name, value)| (*name, (*value).to_owned())));
        source.put(self);
        self.labels.truncate(before);
    }

    /// A number that only grows. Its name is without `_total`, and ends in its unit where it has one: `_bytes`,
    /// `_seconds`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.put(name, Kind::Counter, help, &[], value as f64);
    }

    /// Seconds that only grow, of microseconds.
    pub fn counter_us(&mut self, name: &'static str, help: &'static str, micros: u64) {
        self.put(name, Kind::Counter, help, &[], micros as f64 / 1e6);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.put(name, Kind::Gauge, help, &[], value as f64);
    }

    /// Seconds that go up and down.
    pub fn seconds(&mut self, name: &'static str, help: &'static str, seconds: f64) {
        self.put(name, Kind::Gauge, help, &[], seconds);
    }

    /// 1 for yes, 0 for no.
    pub fn flag(&mut self, name: &'static str, help: &'static str, value: bool) {
        self.put(name, Kind::Gauge, help, &[], f64::from(u8::from(value)));
    }

    /// Words, as labels; the name is without `_info`.
    pub fn info(&mut self, name: &'static str, help: &'static str, words: &[(&'static str, &str)]) {
        self.put(name, Kind::Info, help, words, 1.0);
    }

    /// One value of a family, with labels of its own.
    pub fn put(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let own = labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let labels = self.labels.iter().cloned().chain(own).collect();
        let new = || Family { kind, help, samples: Vec::new() };
        self.families.entry(name).or_insert_with(new).samples.push((labels, value));
    }

    /// What there is, in the order of names.
    pub fn descriptions(&self) -> Vec<Description> {
        let describe = |(name, family): (&&'static str, &Family)| Description {
            name: match family.kind {
                Kind::Counter => format!("{name}_total"),
                Kind::Gauge => (*name).to_owned(),
                Kind::Info => format!("{name}_info"),
            },
            kind: family.kind.name(),
            labels: family.samples.first().map_or_else(Vec::new, |(labels, _)| {
                labels.iter().map(|(name, _)| *name).collect()
            }),
            help: family.help,
        };
        self.families.iter().map(describe).collect()
    }

    /// All of it as OpenMetrics text.
    pub fn render(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Families(self.families)));
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => text,
            // A string takes everything, so this cannot be.
            Err(fmt::Error) => "# EOF\n".into(),
        }
    }
}

/// The families, as the encoder takes them.
#[derive(Debug)]
struct Families(BTreeMap<&'static str, Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.0 {
            let (stem, unit) = split_unit(name);
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
            };
            let mut metric = encoder.encode_descriptor(stem, family.help, unit.as_ref(), kind)?;
            for (labels, value) in &family.samples {
                encode_sample(&mut metric, family.kind, labels, *value)?;
            }
        }
        Ok(())
    }
}

fn encode_sample(
    metric: &mut MetricEncoder<'_>,
    kind: Kind,
    labels: &Labels,
    value: f64,
) -> fmt::Result {
    match (kind, labels.is_empty()) {
        (Kind::Info, _) => metric.encode_info(labels),
        (Kind::Counter, true) => metric.encode_counter::<Labels, f64, f64>(&value, None),
        (Kind::Gauge, true) => metric.encode_gauge(&value),
        (Kind::Counter, false) => {
            metric.encode_family(labels)?.encode_counter::<Labels, f64, f64>(&value, None)
        }
        (Kind::Gauge, false) => metric.encode_family(labels)?.encode_gauge(&value),
    }
}

/// The unit at the end of a name, which the encoder puts there itself, and names.
fn split_unit(name: &str) -> (&str, Option<Unit>) {
    for (end, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
        if let Some(stem) = name.strip_suffix(end) {
            return (stem, Some(unit));
        }
    }
    (name, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(u64);

    impl Source for Two {
        fn put(&self, metrics: &mut Metrics) {
            metrics.counter("fedmsg_test_sent_bytes", "Bytes", self.0);
            metrics.gauge("fedmsg_test_queued", "Waiting", self.0);
        }
    }

    #[test]
    fn text_is_by_the_conventions() {
        let mut metrics = Metrics::default();
        metrics.add_labelled(&[("stream", "a.b/0")], &Two(1));
        metrics.add_labelled(&[("stream", "a.\"\n/1")], &Two(2));
        metrics.counter_us("fedmsg_test_sync_seconds", "Time", 1_500_000);
        metrics.info("fedmsg_test", "Words", &[("word", "x")]);
        assert_eq!(
            metrics.render(),
            "# HELP fedmsg_test Words\n# TYPE fedmsg_test info\nfedmsg_test_info{word=\"x\"} 1\n\
             # HELP fedmsg_test_queued Waiting\n# TYPE fedmsg_test_queued gauge\n\
             fedmsg_test_queued{stream=\"a.b/0\"} 1.0\n\
             fedmsg_test_queued{stream=\"a.\\\"\\n/1\"} 2.0\n\
             # HELP fedmsg_test_sent_bytes Bytes\n# TYPE fedmsg_test_sent_bytes counter\n\
             # UNIT fedmsg_test_sent_bytes bytes\n\
             fedmsg_test_sent_bytes_total{stream=\"a.b/0\"} 1.0\n\
             fedmsg_test_sent_bytes_total{stream=\"a.\\\"\\n/1\"} 2.0\n\
             # HELP fedmsg_test_sync_seconds Time\n# TYPE fedmsg_test_sync_seconds counter\n\
             # UNIT fedmsg_test_sync_seconds seconds\n\
             fedmsg_test_sync_seconds_total 1.5\n# EOF\n"
        );
    }

    #[test]
    fn names_are_described_as_one_asks_for_them() {
        let mut metrics = Metrics::default();
        metrics.add_labelled(&[("stream", "a.b/0")], &Two(1));
        metrics.info("fedmsg_test", "Words", &[("word", "x")]);
        let names: Vec<String> = metrics.descriptions().into_iter().map(|d| d.name).collect();
        let expected = ["fedmsg_test_info", "fedmsg_test_queued", "fedmsg_test_sent_bytes_total"];
        assert_eq!(names, expected);
    }
}
