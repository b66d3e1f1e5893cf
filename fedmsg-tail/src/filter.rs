//! Which items are kept.

use fedmsg::topic::{Naming, Pattern};
use regex::Regex;

use crate::error::TailError;
use crate::item::Item;
use crate::jq::{JqError, Program, is_safe_input};
use crate::options::{Options, Unverified};

/// Which items are kept. What a pattern of the command line asks for is the subscriber's matter.
#[derive(Debug)]
pub struct Filter {
    not: Vec<Pattern>,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    programs: Vec<Program>,
    unverified: Unverified,
}

impl Filter {
    /// Reads the options.
    pub fn new(options: &Options, naming: &Naming) -> Result<Filter, TailError> {
        let not = options.not.iter().map(|text| naming.pattern(text));
        let regexes = |texts: &[String]| {
            let regexes = texts.iter().map(|text| regex(text));
            regexes.collect::<Result<Vec<_>, _>>()
        };
        let programs = options.filter.iter().map(|code| Program::compile(code));
        Ok(Filter {
            not: not.collect::<Result<_, _>>().map_err(TailError::Pattern)?,
            include: regexes(&options.include)?,
            exclude: regexes(&options.exclude)?,
            programs: programs
                .collect::<Result<_, _>>()
                .map_err(|source| TailError::Jq { option: "filter", source })?,
            unverified: options.unverified,
        })
    }

    /// Whether to keep it; cheapest first. A program that fails keeps nothing.
    pub fn keeps(&self, item: &Item<'_>) -> Result<bool, JqError> {
        let by_verdict = match self.unverified {
            Unverified::Show => true,
            Unverified::Hide => item.is_verified(),
            Unverified::Only => !item.is_verified(),
        };
        Ok(by_verdict && self.keeps_topic(&item.topic()) && self.keeps_text(item)?)
    }

    fn keeps_topic(&self, topic: &str) -> bool {
        !self.not.iter().any(|pattern| pattern.matches(topic))
    }

    fn keeps_text(&self, item: &Item<'_>) -> Result<bool, JqError> {
        let frame = item.frame();
        let text = unsigned(&frame);
        let matches = |regex: &Regex| regex.is_match(text);
        if !self.include.is_empty() && !self.include.iter().any(matches)
            || self.exclude.iter().any(matches)
        {
            return Ok(false);
        }
        let is_unsafe = || item.message().is_none() && !is_safe_input(&frame);
        if !self.programs.is_empty() && is_unsafe() {
            return Err(JqError::Input);
        }
        for program in &self.programs {
            if !program.holds(&frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn regex(text: &str) -> Result<Regex, TailError> {
    Regex::new(text).map_err(|error| {
        // The crate draws a picture of several lines; its last one says it in words.
        let said = error.to_string();
        let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
        TailError::Regex { text: text.into(), why: why.into() }
    })
}

/// The frame without its signature, in which a short expression would match by chance.
fn unsigned(frame: &str) -> &str {
    frame.rfind(",\"signature\":").map_or(frame, |end| &frame[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Bus};

    #[derive(Default)]
    struct Case<'a> {
        not: &'a [&'a str],
        include: &'a [&'a str],
        exclude: &'a [&'a str],
        filter: &'a [&'a str],
    }

    fn filter(case: &Case<'_>) -> Result<Filter, TailError> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let options = Options {
            not: texts(case.not),
            include: texts(case.include),
            exclude: texts(case.exclude),
            filter: texts(case.filter),
            ..Options::default()
        };
        Filter::new(&options, &Naming::default())
    }

    #[test]
    fn messages_are_kept_or_dropped() {
        let draft = testing::draft("bodhi.update.comment", r#"{"title":"kernel-6.1","karma":1}"#);
        let message = Bus::default().message(draft);
        let case = Case::default;
        for (case, expected) in [
            (case(), true),
            (Case { not: &["bodhi"], ..case() }, false),
            (Case { not: &["koji"], ..case() }, true),
            (Case { not: &["*.*.*.bodhi"], ..case() }, false),
            (Case { include: &["kernel-[0-9]"], ..case() }, true),
            (Case { include: &["nothing", "karma"], ..case() }, true),
            (Case { include: &["nothing"], ..case() }, false),
            (Case { exclude: &["kernel"], ..case() }, false),
            (Case { include: &["signature"], ..case() }, false),
            (Case { filter: &[".msg.karma > 0"], ..case() }, true),
            (Case { filter: &[".msg.karma > 0", ".msg.none"], ..case() }, false),
            (Case { filter: &[".topic | endswith(\".comment\")"], ..case() }, true),
        ] {
            let kept = filter(&case).expect("filter").keeps(&Item::Verified(&message));
            assert_eq!(kept, Ok(expected));
        }
    }

    #[test]
    fn the_unverified_are_hidden_unless_asked_for() {
        let mut bus = Bus::default();
        let message = bus.message(testing::draft("a.b", "{}"));
        let rejected = bus.forged(testing::draft("a.b", "{}"));
        for (unverified, verified, other) in [
            (Unverified::Hide, true, false),
            (Unverified::Show, true, true),
            (Unverified::Only, false, true),
        ] {
            let options = Options { unverified, ..Options::default() };
            let filter = Filter::new(&options, &Naming::default()).expect("filter");
            assert_eq!(filter.keeps(&Item::Verified(&message)), Ok(verified), "{unverified:?}");
            assert_eq!(filter.keeps(&Item::Stale(&message)), Ok(other), "{unverified:?}");
            assert_eq!(filter.keeps(&Item::Rejected(&rejected)), Ok(other), "{unverified:?}");
        }
    }

    #[test]
    fn no_program_parses_what_is_nested_without_end() {
        let mut rejected = Bus::default().forged(testing::draft("a.b", "{}"));
        let deep = format!("{{\"a\":{}", "[".repeat(500_000));
        rejected.wire.envelope = deep.into_bytes().into();
        let filter = [".a".to_owned()];
        let options =
            Options { unverified: Unverified::Show, filter: filter.into(), ..Options::default() };
        let filter = Filter::new(&options, &Naming::default()).expect("filter");
        assert_eq!(filter.keeps(&Item::Rejected(&rejected)), Err(JqError::Input));
    }

    #[test]
    fn wrong_options_are_refused() {
        let case = Case::default;
        assert!(matches!(filter(&Case { not: &["a..b"], ..case() }), Err(TailError::Pattern(_))));
        assert!(matches!(
            filter(&Case { include: &["("], ..case() }),
            Err(TailError::Regex { .. })
        ));
        assert!(matches!(filter(&Case { filter: &["("], ..case() }), Err(TailError::Jq { .. })));
    }
}
