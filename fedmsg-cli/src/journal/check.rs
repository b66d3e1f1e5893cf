//! `fedmsg journal check`.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use fedmsg::config::Config;
use fedmsg::escape::{escape, escape_json};
use fedmsg::journal::{Body, JournalError, Reader, Report, check_with};
use fedmsg_tool::{Code, CommonOptions};
use serde_json::json;

use super::Error;
use super::places::{Place, Several, disk};
use super::verify::{Grade, Verifier};
use super::walk::{Found, walk};
use crate::config::{counted, load, print};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg journal check
  fedmsg journal check bodhi.backend01/0 --json
  fedmsg journal check --folder /backup/journal --no-verify     where its keys are not trusted

Reads every record: checksums, numbers, the chain of hashes, and then signature and policy, with the
configuration of this host. One line for each thing that is wrong, or one that says that all is well.

Damage is a record that cannot be read, does not follow the one before, or is not what its publisher signed.
An unknown key or a rule that is missing is none. A torn tail is what a crash leaves, and is no damage either.

Exit codes: 0 all is well · 1 failure · 2 wrong command line · 3 damage · 5 no damage, but signatures that
cannot be verified here · 6 no damage, but records that the policy refuses";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Several,

    /// Leave signatures and policy out
    #[arg(long)]
    no_verify: bool,

    /// One JSON object a line, for each journal
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let config = load(common)?;
    let mut progress = Progress::new(common.quiet == 0 && io::stderr().is_terminal());
    let mut worst = Code::Ok;
    for place in options.which.places(&config.state_dir)? {
        let looked = look(&place, &config, !options.no_verify, &mut progress)?;
        progress.clear();
        print(match options.json {
            true => vec![looked.object(&place)],
            false => looked.lines(&place),
        })?;
        worst = worse(worst, looked.code());
    }
    Ok(worst)
}

/// Damage is worse than what a key cures, and that is worse than what a rule cures.
fn worse(one: Code, other: Code) -> Code {
    let order = [Code::Trouble, Code::RefusedSignature, Code::RefusedPolicy];
    order.into_iter().find(|code| [one, other].contains(code)).unwrap_or(Code::Ok)
}

/// What is known of a journal after it was read.
struct Looked {
    report: Report,
    verifier: Option<Verifier>,
}

fn look(
    place: &Place,
    config: &Config,
    verify: bool,
    progress: &mut Progress,
) -> Result<Looked, Error> {
    let name = place.stream.as_str();
    let report = check_with(&disk(), &place.folder, |done, all| {
        progress.say(|| format!("{name}: segment {} of {all}", done + 1));
    })?;
    let mut looked = Looked { report, verifier: None };
    if verify {
        let mut verifier = Verifier::new(config.trust.clone(), place.stream.clone());
        looked.open_all(place, &mut verifier, progress)?;
        looked.verifier = Some(verifier);
    }
    Ok(looked)
}

impl Looked {
    /// Opens every record. What retention gives up in the meantime is passed over.
    fn open_all(
        &self,
        place: &Place,
        verifier: &mut Verifier,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(disk(), &place.folder);
        for range in &self.report.ranges {
            let mut range = *range;
            loop {
                let opened = walk(&mut reader, &range, |found| {
                    if let Found::Entry(entry) = found
                        && let Body::Record(wire) = &entry.body
                    {
                        // Counted by the verifier.
                        let _ = verifier.open(range.epoch, entry.i, wire);
                        progress.say(|| {
                            format!("{}: {} of {} verified", place.stream, entry.i, range.last)
                        });
                    }
                    Ok(true)
                });
                match opened {
                    Err(JournalError::Trimmed { first, .. }) if first > range.first => {
                        range.first = first;
                    }
                    Err(JournalError::UnknownEpoch(_)) => break,
                    opened => break opened?,
                }
            }
        }
        Ok(())
    }

    fn code(&self) -> Code {
        let has = |grade| self.verifier.as_ref().is_some_and(|verifier| verifier.has(grade));
        if !self.report.is_good() || has(Grade::Altered) {
            Code::Trouble
        } else if has(Grade::Key) {
            Code::RefusedSignature
        } else if has(Grade::Policy) {
            Code::RefusedPolicy
        } else {
            Code::Ok
        }
    }

    fn records(&self) -> u64 {
        self.report.segments.iter().map(|segment| segment.records).sum()
    }

    fn lines(&self, place: &Place) -> Vec<String> {
        let mut lines = Vec::new();
        for hole in &self.report.damage {
            let path = hole.path.display();
            lines.push(format!(
                "damage: numbers {} to {} of epoch {} cannot be read in {path}",
                hole.from, hole.to, hole.epoch
            ));
        }
        for link in &self.report.broken_links {
            lines.push(format!("damage: number {} of epoch {}: {}", link.i, link.epoch, link.why));
        }
        if self.report.left_out > 0 {
            lines.push(format!("damage: {} more places", self.report.left_out));
        }
        for segment in self.report.segments.iter().filter(|segment| !segment.header) {
            lines.push(format!("damage: the header of {} cannot be read", segment.path.display()));
        }
        lines.extend(self.refusals());
        if lines.is_empty() {
            lines.push(self.good());
        }
        if let Some(segment) = self.report.segments.last().filter(|segment| segment.torn) {
            let path = segment.path.display();
            lines.push(format!("torn: {} bytes at the end of {path} do not count", segment.behind));
        }
        let line = |line: String| escape(&format!("{}: {line}", place.stream)).to_string();
        lines.into_iter().map(line).collect()
    }

    /// One line for each reason.
    fn refusals(&self) -> Vec<String> {
        let Some(verifier) = &self.verifier else { return Vec::new() };
        let line = |((reason, key), kind): (&(_, Option<String>), &super::verify::Kind)| {
            let word = match Grade::of(*reason) {
                Grade::Altered => "damage",
                Grade::Key => "key",
                Grade::Policy => "policy",
            };
            let (epoch, i) = kind.first;
            let key = key.as_ref().map_or(String::new(), |key| format!(" ({key})"));
            let count = counted(usize::try_from(kind.count).unwrap_or(usize::MAX), "record");
            format!(
                "{word}: {count} refused, {reason}{key}; the first is number {i} of epoch {epoch}"
            )
        };
        verifier.refused.iter().map(line).collect()
    }

    fn good(&self) -> String {
        let count =
            |number: u64, what| counted(usize::try_from(number).unwrap_or(usize::MAX), what);
        let verified = match &self.verifier {
            Some(_) => "all verified",
            None => "signatures left out",
        };
        format!(
            "good: {}, {}, {}, {verified}",
            count(self.report.ranges.len() as u64, "epoch"),
            count(self.report.segments.len() as u64, "segment"),
            count(self.records(), "record"),
        )
    }

    fn object(&self, place: &Place) -> String {
        let report = &self.report;
        let damage: Vec<_> = report
            .damage
            .iter()
            .map(|hole| json!({ "epoch": hole.epoch.to_string(), "from": hole.from, "to": hole.to, "path": hole.path }))
            .collect();
        let links: Vec<_> = report
            .broken_links
            .iter()
            .map(|link| json!({ "epoch": link.epoch.to_string(), "i": link.i, "why": link.why }))
            .collect();
        let headers = report.segments.iter().filter(|segment| !segment.header);
        let headers: Vec<_> = headers.map(|segment| &segment.path).collect();
        let refused = self.verifier.iter().flat_map(|verifier| &verifier.refused);
        let refused: Vec<_> = refused
            .map(|((reason, key), kind)| {
                let (epoch, i) = kind.first;
                json!({ "reason": reason.name(), "key": key, "count": kind.count,
                    "epoch": epoch.to_string(), "i": i })
            })
            .collect();
        let object = json!({
            "stream": place.stream.as_str(),
            "good": self.code() == Code::Ok,
            "damaged": self.code() == Code::Trouble,
            "segments": report.segments.len(),
            "records": self.records(),
            "verified": self.verifier.as_ref().map(|verifier| verifier.verified),
            "unreadable": damage,
            "broken_links": links,
            "unreadable_headers": headers,
            "left_out": report.left_out,
            "refused": refused,
            "torn": report.segments.last().is_some_and(|segment| segment.torn),
        });
        escape_json(&object.to_string()).into_owned()
    }
}

/// One line of a terminal that is written again and again.
struct Progress {
    shown: bool,
    at: Option<Instant>,
    is_dirty: bool,
}

impl Progress {
    fn new(shown: bool) -> Progress {
        Progress { shown, at: None, is_dirty: false }
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        let lately = |at: Instant| at.elapsed() < Duration::from_millis(200);
        if self.shown && !self.at.is_some_and(lately) {
            self.write(&text());
            (self.at, self.is_dirty) = (Some(Instant::now()), true);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        // When stderr is closed, there is nobody left to tell.
        let _ = write!(io::stderr().lock(), "\r\u{1b}[K{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::StreamName;
    use fedmsg::envelope::Epoch;
    use fedmsg::journal::{BrokenLink, Damage, Range};

    #[test]
    fn the_worst_of_several_journals_is_the_exit_code() {
        let (damage, key, policy) = (Code::Trouble, Code::RefusedSignature, Code::RefusedPolicy);
        for (one, other, expected) in [
            (Code::Ok, Code::Ok, Code::Ok),
            (Code::Ok, policy, policy),
            (policy, key, key),
            (key, damage, damage),
            (damage, Code::Ok, damage),
        ] {
            assert_eq!(worse(one, other), expected);
        }
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_line_and_a_good_journal_has_one() {
        let epoch = Epoch::parse("01997530-0000-7000-8000-000000000001").expect("an epoch");
        let stream = StreamName::parse("a.b/0").expect("a stream");
        let place = Place { stream, folder: "/j".into() };
        let mut report = Report::default();
        report.ranges.push(Range { epoch, first: 0, last: 9 });
        let good = Looked { report: report.clone(), verifier: None };
        let line = "a.b/0: good: 1 epoch, 0 segments, 0 records, signatures left out";
        assert_eq!((good.lines(&place), good.code()), (vec![line.to_owned()], Code::Ok));

        report.damage.push(Damage { epoch, from: 3, to: 4, path: "/j/\u{1b}x.seg".into() });
        report.broken_links.push(BrokenLink { epoch, i: 7, why: "its form is wrong".into() });
        let bad = Looked { report, verifier: None };
        let lines = bad.lines(&place);
        assert_eq!((lines.len(), bad.code()), (2, Code::Trouble));
        let end =
            format!("damage: numbers 3 to 4 of epoch {epoch} cannot be read in /j/\\u{{1b}}x.seg");
        assert!(lines[0].ends_with(&end), "{}", lines[0]);
        assert!(lines[1].ends_with("its form is wrong"), "{}", lines[1]);
        let object: serde_json::Value = serde_json::from_str(&bad.object(&place)).expect("JSON");
        assert_eq!((&object["damaged"], &object["verified"]), (&true.into(), &json!(null)));
    }
}
