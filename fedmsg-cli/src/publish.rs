//! `fedmsg publish`: keeps messages in an outbox, and hands them to relays.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Read};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fedmsg::config::ConfigError;
use fedmsg::delivered::{Fate, Point, Refusal};
use fedmsg::journal::{JournalError, OsDisk};
use fedmsg::outbox::Outbox;
use fedmsg::publisher::{BuildError, PublishError, Receipt, Ticket};
use fedmsg::record::Level;
use fedmsg::rejection::Rejection;
use fedmsg::seal::SealError;
use fedmsg::{Config, Draft, Identity, Publisher, Severity};
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, Fault, duration, logging};
use tracing::level_filters::LevelFilter;

/// Tickets that are waited for together: so many lines are on their way at once.
const IN_FLIGHT: usize = 1_000;
/// Longest input without `--lines`: a message has at most 1 MiB.
const INPUT_BYTES_MAX: u64 = 2 << 20;
/// How long the outbox, a disk, and a relay that has to answer are waited for, unless --timeout says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a relay is waited for that need not answer.
const TIMEOUT_QUEUED: Duration = Duration::from_secs(1);

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

    /// An identifier of your own: the same one again within 24 hours is published once
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    msg_id: Option<String>,

    /// Publish as this identity [default: FEDMSG_IDENTITY, or `[publisher] identity`]
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<Identity>,

    /// Succeed only when a relay has it: took it, or stored it on its disk
    #[arg(long, value_enum, value_name = "WHAT")]
    wait: Option<Wait>,

    /// How long to wait for the outbox, and then for a relay [default: 5s; for a relay without --wait 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

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

  fedmsg publish deploy.run.end '{}' --wait relay || echo 'not yet out of this host'

A message is first kept in the outbox of this host, signed and synced, and is then safe: it survives kill -9 and
a power cut. Then it is handed to relays. When none answers it stays queued, which is said on stderr, and goes out with
the next command, or `fedmsg outbox flush`. Prints the msg_id of each message that is kept (nothing with -q).

Exit codes: 0 kept, and with --wait handed over · 2 the message is wrong · 5, 6 a relay refuses it for its
signature or form, or by policy · 75 not published: the outbox is full or held by others; or with --wait: no relay
has it yet, it stays queued. At level `memory` there is no outbox: 4 no answer in time, 7 no relay can be reached.
At `stored(n)` there is none either: 75 fewer relays than n have stored it. Where services wait for copies,
`replicated(n)`, commands keep what they publish as at `local`: say with --wait what they wait for.";

/// What a relay must have said.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// A relay has handed it on; it may be on no disk but this host's
    Relay,
    /// A relay has it on its disk
    Stored,
}

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
    Config(#[from] ConfigError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the message is kept, and what waits cannot be read")]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("relay {} refused it: {} ({})", .0.relay, .0.text, .0.reason)]
    Refused(Refusal),
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
            Error::Refused(refusal) if refusal.reason == Rejection::Policy.name() => {
                Code::RefusedPolicy
            }
            Error::Refused(_) => Code::RefusedSignature,
            Error::Publish(
                PublishError::OutboxFull { .. }
                | PublishError::OutboxHeld { .. }
                | PublishError::NotCopied(_),
            ) => Code::RetryLater,
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
    let _log = logging::init(common, LevelFilter::ERROR);
    let config = Arc::new(Config::load(&common.load_options())?);
    let identity = options.identity.clone().map_or_else(|| config.identity(), Ok)?;
    // A command cannot wait for copies as long as a service: it says with --wait what it waits for.
    let level = match config.publisher.level_of(&identity) {
        Level::Replicated(_) => Level::Local,
        level => level,
    };
    match (level, options.lines) {
        (Level::Memory | Level::Stored(_), _) | (_, true) => {
            through_publisher(config, level, options, common)
        }
        _ => through_outbox(config, options, common),
    }
}

/// One message, by the outbox that all commands share.
fn through_outbox(
    config: Arc<Config>,
    options: &Options,
    common: &CommonOptions,
) -> Result<Code, Error> {
    let mut outbox = Outbox::open(config, options.identity.clone(), Arc::new(OsDisk))?;
    let draft = options.draft(&options.input()?);
    let receipt = outbox.keep(draft, options.timeout.unwrap_or(TIMEOUT))?;
    let mut out = Data::stdout(true);
    if !options.json && common.quiet == 0 {
        // Whoever reads this knows that it is safe, whatever becomes of this process.
        let _ = out.record(format!("{}\n", receipt.msg_id).as_bytes())?;
    }
    let fate = outbox.deliver(&receipt, options.patience())?;
    // What relays have is written down; connections end with the process, which need not wait for their threads.
    std::mem::forget(outbox);
    if options.json && common.quiet == 0 {
        let _ = out.record(json_line(&receipt, Some(&fate)).as_bytes())?;
    }
    options.judge(fate, common)
}

/// Many messages, or such as are kept nowhere, by a publisher of this process alone.
fn through_publisher(
    config: Arc<Config>,
    level: Level,
    options: &Options,
    common: &CommonOptions,
) -> Result<Code, Error> {
    let builder = Publisher::builder().config(config).level(level).relays_only();
    let builder = match &options.identity {
        Some(identity) => builder.identity(identity.clone()),
        None => builder,
    };
    let publisher = builder.build()?;
    let published = publish(&publisher, options, common);
    let is_kept = !matches!(publisher.level(), Level::Memory | Level::Stored(_));
    match &published {
        Ok(last) => {
            let end = last.as_ref().filter(|_| is_kept);
            let code = end.map(|last| wait_for_relays(&publisher, last, options, common));
            publisher.close();
            code.unwrap_or(Ok(Code::Ok))
        }
        Err(_) => {
            // Whoever has not answered until now is not waited for once more: the process ends.
            std::mem::forget(publisher);
            published.map(|_| Code::Ok)
        }
    }
}

/// Waits until a relay has everything up to this message.
fn wait_for_relays(
    publisher: &Publisher,
    last: &Receipt,
    options: &Options,
    common: &CommonOptions,
) -> Result<Code, Error> {
    publisher.flush(options.patience());
    let fate = publisher.delivered().unwrap_or_default().fate(point(last));
    options.judge(fate, common)
}

fn point(receipt: &Receipt) -> Point {
    Point { epoch: receipt.epoch, i: receipt.i }
}

/// Publishes what there is; the last receipt.
fn publish(
    publisher: &Publisher,
    options: &Options,
    common: &CommonOptions,
) -> Result<Option<Receipt>, Error> {
    let mut out = Data::stdout(false);
    let (mut last, timeout) = (None, options.timeout.unwrap_or(TIMEOUT));
    let mut print = |receipt: &Receipt| {
        last = Some(receipt.clone());
        if common.quiet > 0 {
            return Ok(());
        }
        let line = match options.json {
            true => json_line(receipt, None),
            false => format!("{}\n", receipt.msg_id),
        };
        out.record(line.as_bytes()).map(drop)
    };
    if options.lines {
        publish_lines(publisher, options, timeout, &mut print)?;
    } else {
        let ticket = publisher.enqueue(options.draft(&options.input()?))?;
        print(&wait(publisher, ticket, timeout)?)?;
    }
    let _ = out.flush()?;
    Ok(last)
}

/// Each line a message; a window of them is on its way at once, and receipts come in order.
fn publish_lines(
    publisher: &Publisher,
    options: &Options,
    timeout: Duration,
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
            print(&wait(publisher, ticket, timeout).map_err(at(number))?)?;
        }
    }
    for (number, ticket) in tickets {
        print(&wait(publisher, ticket, timeout).map_err(at(number))?)?;
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
    /// How long a relay is waited for.
    fn patience(&self) -> Duration {
        let usual = if self.wait.is_some() { TIMEOUT } else { TIMEOUT_QUEUED };
        self.timeout.unwrap_or(usual)
    }

    /// What the fate of the last message means.
    fn judge(&self, fate: Fate, common: &CommonOptions) -> Result<Code, Error> {
        let queued = match fate {
            Fate::Taken { stored: true, .. } => return Ok(Code::Ok),
            Fate::Taken { relay, .. } if self.wait == Some(Wait::Stored) => {
                format!("{relay} handed it on, and has it on no disk: it is kept here")
            }
            Fate::Taken { .. } => return Ok(Code::Ok),
            Fate::Refused(refusal) => {
                return Err(Error::Refused(refusal));
            }
            _ => "queued: no relay has it yet; the next command delivers it, or `fedmsg outbox flush`"
                .into(),
        };
        crate::consumer::tell(common, &queued);
        Ok(if self.wait.is_some() { Code::RetryLater } else { Code::Ok })
    }

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

/// A receipt; with the fate of the message, where that is known.
fn json_line(receipt: &Receipt, fate: Option<&Fate>) -> String {
    let (state, relay) = match fate {
        Some(Fate::Taken { relay, stored: true }) => (Some("stored"), Some(relay.as_str())),
        Some(Fate::Taken { relay, .. }) => (Some("accepted"), Some(relay.as_str())),
        Some(Fate::Refused(refusal)) => (Some("refused"), Some(refusal.relay.as_str())),
        Some(_) => (Some("queued"), None),
        None => (None, receipt.relay.as_ref().map(|relay| relay.as_str())),
    };
    let mut value = serde_json::json!({
        "msg_id": receipt.msg_id,
        "stream": receipt.stream.as_str(),
        "epoch": receipt.epoch.to_string(),
        "i": receipt.i,
        "level": receipt.level,
        "relay": relay,
    });
    if !receipt.copies.is_empty() {
        value["copies"] = receipt.copies.iter().map(ToString::to_string).collect();
    }
    if let Some(state) = state {
        value["state"] = state.into();
    }
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
