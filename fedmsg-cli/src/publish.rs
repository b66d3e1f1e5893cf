//! `fedmsg publish`: puts messages to relays and waits for their answer.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Read};
use std::time::Duration;

use clap::{Args, ValueEnum};
use fedmsg::publisher::{BuildError, PublishError, Receipt, Ticket};
use fedmsg::seal::SealError;
use fedmsg::{Draft, Identity, Publisher, Severity};
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, Fault, duration, logging};
use tracing::level_filters::LevelFilter;

/// Tickets that are waited for together: so many lines are on their way at once.
const IN_FLIGHT: usize = 1_000;
/// Longest input without `--lines`: a message has at most 1 MiB.
const INPUT_BYTES_MAX: u64 = 2 << 20;

/// Options of `fedmsg publish`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// What it is about; relative to prefix and environment, such as `log.line.create`
    topic: String,

    /// The body: a JSON object, or text, which becomes {"text": …} [default: from stdin]
    body: Option<String>,

    /// Publish each line of stdin as a message of its own
    #[arg(long, conflicts_with = "body")]
    lines: bool,

    /// Add a header
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// How much it matters to people
    #[arg(long, value_enum)]
    severity: Option<SeverityOption>,

    /// One line for people
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,

    /// An identifier of your own: the same one again within one run is published once
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    msg_id: Option<String>,

    /// Publish as this identity [default: FEDMSG_IDENTITY, or `[publisher] identity`]
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<Identity>,

    /// How long to wait for a relay's answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,

    /// Print a JSON object for each message instead of its msg_id
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  echo hello | fedmsg publish log.line.create
  fedmsg publish bodhi.update.comment '{\"update\": \"kernel-6.1\", \"karma\": 1}'
  journalctl -f -o json | fedmsg publish --lines log.journal.entry -q
  fedmsg publish backup.run.fail --severity error --summary 'backup of db01 failed' '{}'

Prints the msg_id of each message that a relay accepted (nothing with -q).
Exit codes: 0 accepted, 2 the message is wrong, 4 no answer in time (it may have been published or
not), 6 refused by policy, 7 no relay can be reached.";

#[derive(Clone, Copy, ValueEnum)]
enum SeverityOption {
    Debug,
    Info,
    Warning,
    Error,
}

impl From<SeverityOption> for Severity {
    fn from(option: SeverityOption) -> Severity {
        match option {
            SeverityOption::Debug => Severity::Debug,
            SeverityOption::Info => Severity::Info,
            SeverityOption::Warning => Severity::Warning,
            SeverityOption::Error => Severity::Error,
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    Ok((name.into(), value.into()))
}

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("no relay could be reached in {0:?}; the message was not published")]
    Unreachable(Duration),
    #[error("stdin: {0}")]
    Input(std::io::Error),
    #[error(
        "stdin has more than {INPUT_BYTES_MAX} bytes: one message is at most 1 MiB; --lines makes many"
    )]
    TooMuch,
    #[error("line {number}: {error}")]
    Line { number: u64, error: Box<Error> },
    #[error("cannot write to stdout")]
    Write(#[from] std::io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Publish(PublishError::Seal(SealError::Policy { .. })) => Code::RefusedPolicy,
            Error::Publish(PublishError::Seal(_)) | Error::TooMuch => Code::Usage,
            Error::Publish(PublishError::Refused { reason, .. }) if reason.contains("policy") => {
                Code::RefusedPolicy
            }
            Error::Publish(PublishError::Refused { .. }) => Code::RefusedSignature,
            Error::Publish(PublishError::Indeterminate) => Code::TimedOut,
            Error::Unreachable(_) | Error::Build(BuildError::NoWay { .. }) => {
                Code::RelayUnreachable
            }
            Error::Line { error, .. } => error.code(),
            _ => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let builder = Publisher::builder().load(common.load_options()).relays_only();
    let builder = match &options.identity {
        Some(identity) => builder.identity(identity.clone()),
        None => builder,
    };
    let publisher = builder.build()?;
    let published = publish(&publisher, options, common);
    match &published {
        Ok(_) => publisher.close(),
        // Whoever has not answered until now is not waited for once more: the process ends.
        Err(_) => std::mem::forget(publisher),
    }
    published
}

fn publish(
    publisher: &Publisher,
    options: &Options,
    common: &CommonOptions,
) -> Result<Code, Error> {
    let mut out = Data::stdout(false);
    let mut print = |receipt: &Receipt| {
        if common.quiet > 0 {
            return Ok(());
        }
        let line = if options.json { json_line(receipt) } else { format!("{}\n", receipt.msg_id) };
        out.record(line.as_bytes()).map(drop)
    };
    if options.lines {
        publish_lines(publisher, options, &mut print)?;
    } else {
        let ticket = publisher.enqueue(options.draft(&options.input()?))?;
        print(&wait(publisher, ticket, options.timeout)?)?;
    }
    let _ = out.flush()?;
    Ok(Code::Ok)
}

/// Each line a message; a window of them is on its way at once, and receipts come in order.
fn publish_lines(
    publisher: &Publisher,
    options: &Options,
    print: &mut impl FnMut(&Receipt) -> std::io::Result<()>,
) -> Result<(), Error> {
    let mut tickets = std::collections::VecDeque::new();
    let at = |number: u64| move |error: Error| Error::Line { number, error: Box::new(error) };
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        let line = line.map_err(Error::Input)?;
        let ticket = publisher.enqueue(options.draft(&line));
        tickets.push_back((number, ticket.map_err(|error| at(number)(error.into()))?));
        if tickets.len() >= IN_FLIGHT
            && let Some((number, ticket)) = tickets.pop_front()
        {
            print(&wait(publisher, ticket, options.timeout).map_err(at(number))?)?;
        }
    }
    for (number, ticket) in tickets {
        print(&wait(publisher, ticket, options.timeout).map_err(at(number))?)?;
    }
    Ok(())
}

/// The receipt; without one, whether nobody could be reached at all.
fn wait(publisher: &Publisher, ticket: Ticket, timeout: Duration) -> Result<Receipt, Error> {
    ticket.wait_timeout(timeout).map_err(|error| match error {
        PublishError::Indeterminate if publisher.metrics().relays_up == 0 => {
            Error::Unreachable(timeout)
        }
        error => error.into(),
    })
}

impl Options {
    fn input(&self) -> Result<String, Error> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        if std::io::stdin().is_terminal() {
            tracing::warn!("reading the body from the terminal; end it with Ctrl-D");
        }
        let mut text = String::new();
        let mut stdin = std::io::stdin().lock().take(INPUT_BYTES_MAX + 1);
        stdin.read_to_string(&mut text).map_err(Error::Input)?;
        if text.len() as u64 > INPUT_BYTES_MAX {
            return Err(Error::TooMuch);
        }
        Ok(text)
    }

    fn draft(&self, text: &str) -> Draft {
        let draft = Draft::new(&self.topic);
        let draft = match is_object(text) {
            true => draft.raw_body(text.trim()),
            false => draft.body(&BTreeMap::from([("text", text.trim_end_matches(['\r', '\n']))])),
        };
        let draft =
            self.headers.iter().fold(draft, |draft, (name, value)| draft.header(name, value));
        let draft = match &self.summary {
            Some(summary) => draft.summary(summary),
            None => draft,
        };
        let draft = match &self.msg_id {
            Some(msg_id) => draft.msg_id(msg_id),
            None => draft,
        };
        match self.severity {
            Some(severity) => draft.severity(severity.into()),
            None => draft,
        }
    }
}

/// Whether a text is meant as JSON: what begins like an object is published as it is, or refused with what
/// is wrong with it.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn json_line(receipt: &Receipt) -> String {
    let value = serde_json::json!({
        "msg_id": receipt.msg_id,
        "stream": receipt.stream.as_str(),
        "epoch": receipt.epoch.to_string(),
        "i": receipt.i,
        "level": receipt.level,
        "relay": receipt.relay.as_ref().map(|relay| relay.as_str()),
    });
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_an_object_is_json_and_the_rest_is_text() {
        for (text, object) in
            [("{}", true), (" {\"a\":1}\n", true), ("hello", false), ("[1]", false)]
        {
            assert_eq!(is_object(text), object, "{text}");
        }
    }

    #[test]
    fn headers_are_split_at_the_first_equals_sign() {
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(header("a").is_err());
    }
}
