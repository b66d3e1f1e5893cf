//! A report for people, for scripts, and for Nagios.

use clap::ValueEnum;
use fedmsg::escape::{escape, escape_json};
use fedmsg_tool::Code;
use serde_json::json;

use super::finding::{Finding, Grade, Report};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object for each finding, then one for all
    Json,
    /// A plugin of Nagios, Icinga, Sensu and the like: its lines, figures and exit codes
    Nagios,
}

impl Format {
    pub(super) fn lines(self, report: &Report) -> Vec<String> {
        match self {
            Format::Text => text(report),
            Format::Json => json(report),
            Format::Nagios => nagios(report),
        }
    }

    /// What the result is for whoever started the program.
    pub(super) fn code(self, worst: Grade) -> Code {
        match (self, worst) {
            (_, Grade::Ok) => Code::Ok,
            // What counts here is the number: 1, 2 and 3 are what Nagios calls them.
            (Format::Nagios, Grade::Warning) => Code::General,
            (Format::Nagios, Grade::Critical) => Code::Usage,
            (Format::Nagios, Grade::Unknown) => Code::Trouble,
            (_, Grade::Warning | Grade::Critical) => Code::Trouble,
            (_, Grade::Unknown) => Code::TimedOut,
        }
    }
}

fn text(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", report.worst().name(), counts(report))];
    for finding in &report.findings {
        let check = finding.check.name();
        lines.push(format!("{:<8}  {check:<7}  {}", finding.grade.name(), said(finding)));
        if !finding.todo.is_empty() {
            lines.push(format!("{:<8}  {:<7}  do: {}", "", "", escape(&finding.todo)));
        }
    }
    lines
}

/// Subject, host and text on one line.
fn said(finding: &Finding) -> String {
    let host = match &finding.host {
        Some(host) => format!(" on {}", escape(host)),
        None => String::new(),
    };
    format!("{}{host}: {}", escape(&finding.subject), escape(&finding.text))
}

fn counts(report: &Report) -> String {
    let count = |grade: Grade| match (grade, report.count(grade)) {
        (Grade::Ok, _) | (_, 0) => None,
        (Grade::Warning, 1) => Some("1 warning".to_owned()),
        (Grade::Warning, count) => Some(format!("{count} warnings")),
        (_, count) => Some(format!("{count} {}", grade.name())),
    };
    let bad: Vec<String> = Grade::WORST_FIRST.into_iter().filter_map(count).collect();
    match bad.is_empty() {
        true => format!("{} is well", report.check.name()),
        false => format!("{}: {}", report.check.name(), bad.join(", ")),
    }
}

fn json(report: &Report) -> Vec<String> {
    let finding = |finding: &Finding| {
        json!({
            "check": finding.check.name(),
            "state": finding.grade.name(),
            "subject": finding.subject,
            "host": finding.host,
            "text": finding.text,
            "do": if finding.todo.is_empty() { None } else { Some(&finding.todo) },
        })
    };
    let figures = report.figures.iter().map(|(name, figure)| {
        (name.to_string(), json!({ "value": figure.value, "unit": figure.unit }))
    });
    let all = json!({
        "check": report.check.name(),
        "state": report.worst().name(),
        "critical": report.count(Grade::Critical),
        "warning": report.count(Grade::Warning),
        "unknown": report.count(Grade::Unknown),
        "figures": figures.collect::<serde_json::Map<_, _>>(),
    });
    let objects = report.findings.iter().map(finding).chain([all]);
    objects.map(|object| escape_json(&object.to_string()).into_owned()).collect()
}

/// The first line is what a page shows: the worst finding, and how many there are; figures stand behind the bar. The
/// rest follows, and has no bar, which would begin more figures.
fn nagios(report: &Report) -> Vec<String> {
    let clean = |text: String| text.replace('|', "/");
    let bad = report.findings.iter().filter(|finding| finding.grade > Grade::Ok);
    let shown = bad.clone().next().map(said);
    let more = match bad.clone().count() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    let first = match shown {
        Some(said) => format!("{said}{more}"),
        None => counts(report),
    };
    let figures = report
        .figures
        .iter()
        .map(|(name, figure)| format!("{name}={}{}", figure.value, figure.unit));
    let figures: Vec<String> = figures.collect();
    let bar = if figures.is_empty() { "" } else { " | " };
    let (name, state) = (report.check.name().to_uppercase(), report.worst().name().to_uppercase());
    let first = clean(format!("FEDMSG {name} {state}: {first}"));
    let mut lines = vec![format!("{first}{bar}{}", figures.join(" "))];
    for finding in bad {
        let todo = match finding.todo.is_empty() {
            true => String::new(),
            false => format!("; {}", escape(&finding.todo)),
        };
        let (state, check) = (finding.grade.name(), finding.check.name());
        lines.push(clean(format!("{state} {check}: {}{todo}", said(finding))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::finding::Check;
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(Check::All);
        report.add(Check::Gaps, Grade::Ok, "app.one/0", "nothing is missing");
        report.add(Check::Lag, Grade::Warning, "badges", "5 messages behind").todo("start it");
        let worst = report.add(Check::Silence, Grade::Critical, "app.two", "silent | \u{1b}[2J");
        worst.on(Some("web01".into())).todo("look at it");
        report.figure("lag_messages", 5, "");
        report.figure("disk_free", 40, "%");
        report.sort();
        report
    }

    #[test]
    fn nagios_gets_one_line_with_figures_and_then_the_rest() {
        let lines = Format::Nagios.lines(&report());
        assert_eq!(
            lines[0],
            "FEDMSG ALL CRITICAL: app.two on web01: silent / \\u{1b}[2J (and 1 more) | disk_free=40% lag_messages=5"
        );
        assert_eq!(lines[1], "critical silence: app.two on web01: silent / \\u{1b}[2J; look at it");
        assert_eq!(lines[2..], ["warning lag: badges: 5 messages behind; start it"]);
        let well = Format::Nagios.lines(&Report::new(Check::Disk));
        assert_eq!(well, ["FEDMSG DISK OK: disk is well"]);
    }

    #[test]
    fn people_and_scripts_get_everything_the_worst_first() {
        let lines = Format::Text.lines(&report());
        assert_eq!(lines[0], "critical: all: 1 critical, 1 warning");
        assert_eq!(lines[1], "critical  silence  app.two on web01: silent | \\u{1b}[2J");
        assert_eq!(lines[2], "                   do: look at it");
        assert_eq!(lines[5], "ok        gaps     app.one/0: nothing is missing");
        let lines = Format::Json.lines(&report());
        assert_eq!(lines.len(), 4);
        let object =
            |at: usize| serde_json::from_str::<serde_json::Value>(&lines[at]).expect("JSON");
        let (first, all) = (object(0), object(3));
        assert_eq!((&first["state"], &first["host"]), (&"critical".into(), &"web01".into()));
        assert_eq!((&all["state"], &all["warning"]), (&"critical".into(), &1.into()));
        assert_eq!(all["figures"]["disk_free"]["value"], 40);
        assert!(object(2)["do"].is_null());
    }

    #[test]
    fn the_exit_code_says_the_worst() {
        for (grade, nagios, other) in [
            (Grade::Ok, 0, 0),
            (Grade::Warning, 1, 3),
            (Grade::Critical, 2, 3),
            (Grade::Unknown, 3, 4),
        ] {
            let codes =
                [Format::Nagios, Format::Text, Format::Json].map(|format| format.code(grade) as u8);
            assert_eq!(codes, [nagios, other, other], "{grade:?}");
        }
    }
}
