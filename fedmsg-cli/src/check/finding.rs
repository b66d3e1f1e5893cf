//! What a check has found, and how bad it is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How bad it is; the worst one is the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// All is well; said so that nobody has to guess.
    Ok,
    /// It cannot be told now.
    Unknown,
    /// Somebody should look at it today.
    Warning,
    /// Somebody has to do something now.
    Critical,
}

impl Grade {
    /// All of them, the worst one first.
    pub(super) const WORST_FIRST: [Grade; 4] =
        [Grade::Critical, Grade::Warning, Grade::Unknown, Grade::Ok];

    pub(super) fn name(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Unknown => "unknown",
            Grade::Warning => "warning",
            Grade::Critical => "critical",
        }
    }
}

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Silence,
    Lag,
    Gaps,
    Disk,
    Config,
    All,
}

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Check::Silence => "silence",
            Check::Lag => "lag",
            Check::Gaps => "gaps",
            Check::Disk => "disk",
            Check::Config => "config",
            Check::All => "all",
        }
    }
}

/// One thing that was found: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) grade: Grade,
    /// The stream, service, consumer, file or host that it is about.
    pub(super) subject: String,
    /// The host, where it is known.
    pub(super) host: Option<String>,
    pub(super) text: String,
    /// What to do; empty where all is well.
    pub(super) todo: String,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) check: Check,
    pub(super) findings: Vec<Finding>,
    /// Numbers for who draws them, by name; the unit is the end of the name as Nagios has it.
    pub(super) figures: BTreeMap<&'static str, Figure>,
}

/// A number, and the unit that Nagios knows it by: none, `s`, `B` or `%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: u64,
    pub(super) unit: &'static str,
}

impl Report {
    pub(super) fn new(check: Check) -> Report {
        Report { check, findings: Vec::new(), figures: BTreeMap::new() }
    }

    /// Says what was found; more is said of it by the methods of [`Finding`].
    pub(super) fn add(
        &mut self,
        check: Check,
        grade: Grade,
        subject: impl ToString,
        text: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            check,
            grade,
            subject: subject.to_string(),
            host: None,
            text: text.into(),
            todo: String::new(),
        });
        self.findings.last_mut().expect("it was put there")
    }

    pub(super) fn figure(&mut self, name: &'static str, value: u64, unit: &'static str) {
        self.figures.insert(name, Figure { value, unit });
    }

    /// The worst of it.
    pub(super) fn worst(&self) -> Grade {
        self.findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok)
    }

    /// How many findings are so bad.
    pub(super) fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|finding| finding.grade == grade).count()
    }

    /// The worst ones first, otherwise as they were found.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| Reverse(finding.grade));
    }
}

impl Finding {
    pub(super) fn on(&mut self, host: Option<String>) -> &mut Finding {
        self.host = host;
        self
    }

    pub(super) fn todo(&mut self, todo: impl Into<String>) -> &mut Finding {
        self.todo = todo.into();
        self
    }
}
