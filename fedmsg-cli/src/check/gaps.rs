//! `fedmsg check gaps`: what of streams nobody has.

use clap::Args;
use fedmsg::StreamName;
use fedmsg::envelope::Epoch;
use fedmsg::frames::{Completeness, Range};

use super::finding::{Check, Grade, Report};
use super::scan::{Keeper, Part, Scan, without};
use super::subject::{Subject, host_of};
use super::{Error, World};
use crate::stream::Stand;
use crate::streams::{Seen, View};

pub(super) const EXAMPLES: &str = "\
Examples:
  fedmsg check gaps                        what holders say of themselves; parts that are said to have holes are read
  fedmsg check gaps --read --timeout 3m    holders read everything: finds damage that nobody has met yet
  fedmsg check gaps bodhi.backend01 --read

Counted is what lies between the first number that anybody still has and the last one that its publisher has signed: what
retention took before that is no gap. Where holders read, no message is sent: only what is missing is named. A gap that
somebody who does not answer could fill is `unknown`.";

#[derive(Args, Default)]
pub(super) struct Options {
    /// Services, identities or streams [default: all]
    #[arg(value_parser = Subject::parse, value_name = "WHAT")]
    what: Vec<Subject>,

    /// Have holders read everything that they keep, also what they take for complete
    #[arg(long)]
    read: bool,
}

/// Numbers of one epoch, from the first to the last one.
type Numbers = (u64, u64);

pub(super) fn check(
    options: &Options,
    view: &View,
    world: &World<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    let is_wanted = |stream: &StreamName| {
        options.what.is_empty() || options.what.iter().any(|what| what.includes(stream))
    };
    let streams = view.streams.iter().filter(|(stream, _)| is_wanted(stream));
    let mut parts = Vec::new();
    let mut count = 0;
    for (stream, seen) in streams {
        count += 1;
        for known in seen.epochs() {
            let doubtful = doubtful(seen, known, options.read);
            for numbers in doubtful {
                let holders = holders(seen, known.epoch);
                parts.push(Part { stream: stream.clone(), epoch: known.epoch, numbers, holders });
            }
        }
        partial(stream, seen, view, report);
        ahead(stream, seen, view, report);
    }
    let scanned = Scan { end: world.end, is_stopped: world.is_stopped }.run(parts)?;
    let mut missing = 0;
    for one in scanned {
        let seen = &view.streams[&one.part.stream];
        for (from, to) in &one.missing {
            missing += to - from + 1;
            hole(&one.part, (*from, *to), seen, view, report);
        }
        if let Some(unread) = one.unread {
            let text = format!(
                "numbers {} to {} of epoch {} could not be read: {unread}",
                one.part.numbers.0, one.part.numbers.1, one.part.epoch
            );
            let finding = report.add(Check::Gaps, Grade::Unknown, &one.part.stream, text);
            finding.todo("give it more time with --timeout, or name fewer streams");
        }
    }
    report.figure("gaps_streams", count, "");
    report.figure("gaps_missing", missing, "");
    Ok(())
}

/// Numbers of an epoch that no holder is known to have without a doubt; with `read` all of them.
fn doubtful(seen: &Seen, known: Range, read: bool) -> Vec<Numbers> {
    let all = vec![(known.first.max(1), known.last)];
    if known.first.max(1) > known.last {
        return Vec::new();
    }
    if read {
        return all;
    }
    let complete = seen.all_stands().filter_map(|stand| match stand {
        Stand::Has { completeness: Completeness::Complete, epochs, .. } => {
            let range = epochs.iter().find(|range| range.epoch == known.epoch)?;
            (range.first <= range.last).then_some((range.first, range.last))
        }
        _ => None,
    });
    complete.fold(all, without)
}

/// Who has anything of an epoch: those first who say that they have all of it.
fn holders(seen: &Seen, epoch: Epoch) -> Vec<Keeper> {
    let holders = seen.stands.iter().filter_map(|(holder, stand)| {
        let Stand::Has { completeness, epochs, .. } = stand else { return None };
        let range = epochs.iter().find(|range| range.epoch == epoch)?;
        let (address, first, last) = (holder.clone(), range.first, range.last);
        Some((*completeness == Completeness::Partial, Keeper { address, first, last }))
    });
    let mut holders: Vec<_> = holders.collect();
    holders.sort_by_key(|(is_partial, _)| *is_partial);
    holders.into_iter().map(|(_, keeper)| keeper).collect()
}

fn hole(part: &Part, (from, to): Numbers, seen: &Seen, view: &View, report: &mut Report) {
    let numbers = match from == to {
        true => format!("number {from}"),
        false => format!("numbers {from} to {to}"),
    };
    let (stream, epoch) = (&part.stream, part.epoch);
    let host = host_of(&view.config, stream.identity());
    if seen.may_be_elsewhere() {
        let silent = silent(seen, view);
        let text =
            format!("{numbers} of epoch {epoch}: with nobody who answers; {silent} may have them");
        report
            .add(Check::Gaps, Grade::Unknown, stream, text)
            .on(Some(host))
            .todo("start the holders that do not answer");
        return;
    }
    let text = format!(
        "{numbers} of epoch {epoch}: with nobody, and readers that need them are told that they are lost"
    );
    report.add(Check::Gaps, Grade::Critical, stream, text).on(Some(host)).todo(format!(
        "look for a copy: another disk, a backup, `fedmsg journal export {stream}` where one is; on the host of the publisher `fedmsg journal check {stream}` says what is damaged"
    ));
}

/// The end of the stream, when nobody has it who keeps the rest.
fn ahead(stream: &StreamName, seen: &Seen, view: &View, report: &mut Report) {
    let Some(newest) = seen.newest() else { return };
    // A heartbeat that came over the bus may be newer than what holders said of themselves a moment before.
    let said = seen.said_by_holders();
    let Some((epoch, last)) = said else { return };
    let kept =
        seen.epochs().iter().find(|range| range.epoch == epoch).map_or(0, |range| range.last);
    if newest.beat.first > newest.beat.last || last <= kept {
        return;
    }
    let host = host_of(&view.config, stream.identity());
    let text = format!(
        "its publisher has signed number {last} of epoch {epoch}, and nobody has more than {kept}"
    );
    let grade = if seen.may_be_elsewhere() { Grade::Unknown } else { Grade::Critical };
    report
        .add(Check::Gaps, grade, stream, text)
        .on(Some(host))
        .todo(format!("start its publisher; `fedmsg streams {stream}` shows who was asked"));
}

/// Holders that have a part of it only.
fn partial(stream: &StreamName, seen: &Seen, view: &View, report: &mut Report) {
    let partial = seen.stands.iter().filter_map(|(holder, stand)| match stand {
        Stand::Has { completeness: Completeness::Partial, .. } => Some(view.holder_name(holder)),
        _ => None,
    });
    let partial: Vec<String> = partial.collect();
    if partial.is_empty() {
        return;
    }
    let text = format!("{} has holes in it", partial.join(", "));
    report.add(Check::Gaps, Grade::Ok, stream, text);
}

/// Those who did not answer.
fn silent(seen: &Seen, view: &View) -> String {
    let silent = seen.stands.iter().filter(|(_, stand)| matches!(stand, Stand::Silent));
    let names: Vec<String> = silent.map(|(holder, _)| view.holder_name(holder)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::samples::{epoch, has, range};
    use fedmsg::Endpoint;

    fn seen(stands: &[(u16, Completeness, &[Range])]) -> Seen {
        let mut seen = Seen::default();
        for (port, completeness, epochs) in stands {
            let holder = Endpoint::parse(&format!("tcp://h:{port}")).expect("an address");
            seen.stands.insert(holder, has(*completeness, epochs));
        }
        seen
    }

    #[test]
    fn what_complete_holders_have_is_without_a_doubt() {
        let (complete, partial) = (Completeness::Complete, Completeness::Partial);
        let known = range(1, 0, 20);
        for (stands, doubts) in [
            (seen(&[(1, complete, &[range(1, 0, 20)])]), vec![]),
            (seen(&[(1, partial, &[range(1, 0, 20)])]), vec![(1, 20)]),
            (
                seen(&[(1, complete, &[range(1, 5, 9)]), (2, partial, &[range(1, 1, 20)])]),
                vec![(1, 4), (10, 20)],
            ),
            (
                seen(&[(1, complete, &[range(1, 0, 7)]), (2, complete, &[range(1, 12, 20)])]),
                vec![(8, 11)],
            ),
            (seen(&[(1, complete, &[range(1, 21, 20)])]), vec![(1, 20)]),
        ] {
            assert_eq!(doubtful(&stands, known, false), doubts, "{stands:?}");
            assert_eq!(doubtful(&stands, known, true), [(1, 20)]);
        }
        let nothing = seen(&[(1, complete, &[range(1, 8, 7)])]);
        assert_eq!(doubtful(&nothing, range(1, 8, 7), true), []);
        let two = seen(&[(1, partial, &[range(1, 0, 9)]), (2, complete, &[range(1, 0, 9)])]);
        let order: Vec<_> = holders(&two, epoch(1)).iter().map(|one| one.address.port()).collect();
        assert_eq!(order, [Some(2), Some(1)], "who has all of it is asked first");
    }
}
