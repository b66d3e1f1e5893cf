//! The command line of `fedmsg-tail`.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use fedmsg::history::Order;
use fedmsg_tool::{CommonOptions, StatusOptions};

use crate::past::{LAST_MAX, Spot};
use crate::when::When;

const EXAMPLES: &str = "\
Examples:
  fedmsg-tail                                       everything, one readable line each
  fedmsg-tail bodhi 'koji.build.*' --not '*.*.*.*.*.ping'
  fedmsg-tail --json | jq -r .message.msg_id        one object a line, the verdict beside the message
  fedmsg-tail --filter '.headers.severity == \"error\"' --pretty
  fedmsg-tail git.commit --query msg.repo,msg.author
  fedmsg-tail --count 1 --timeout 10s bodhi         wait for one message: exit code 0, or 4
  fedmsg-tail --strict --summary >/dev/null         watch for losses, forks and rejections: exit code 3
  fedmsg-tail --format '%T %u %t %S'
  fedmsg-tail --since 2h koji                       the last two hours, then what comes
  fedmsg-tail --last 20 --filter '.headers.severity == \"error\"'
  fedmsg-tail --all --no-follow --json >all.jsonl   everything that is kept, and no more
  fedmsg-tail --json --status 9463                  a service: http://127.0.0.1:9463/metrics, /live, /ready, /status

A pattern is made of tokens: `*` is exactly one, `>` at the end one or more; `a.b` is a.b and all below
it. One that begins with neither the topic prefix nor a wildcard is relative: prefix and environment go
before it.

Programs of --filter and --map, and paths of --query, see the message: .topic .msg .headers .username
.timestamp .i … They are in the jq language, without clock, environment and other inputs.

The past is read from those who keep it: each service with a `replay` address, also for its processes that
are gone. It is shown by the time of the messages, each stream in its own order, and the present follows
without a seam. --last looks at the last N of each stream, and shows the last N of those that are kept by the
other options.

Exit codes: 0 success (also when the reader of stdout goes away) · 1 failure · 2 wrong command line ·
3 losses, forks or rejections under --strict · 4 the time of --timeout was over before --count messages, or
any at all, were printed, or before the past was read with --no-follow · 75 with --no-follow: not all of the
past could be read · 130, 143 ended by SIGINT, SIGTERM";

/// Show the verified messages of a fedmsg bus
#[derive(Parser)]
#[command(name = "fedmsg-tail", version = fedmsg_tool::version())]
pub struct Cli {
    /// What it is to do.
    #[command(flatten)]
    pub options: Options,
    /// What all programs of a bus are told.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// What `fedmsg-tail` shows, and how.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Topics to show; several are a union [default: everything]
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,

    /// Topics not to show
    #[arg(long, value_name = "PATTERN", help_heading = "What to show")]
    pub not: Vec<String>,

    /// Show only what matches this (of several: any), in the JSON text without its signature
    #[arg(long, value_name = "REGEX", help_heading = "What to show")]
    pub include: Vec<String>,

    /// Do not show what matches this, in the JSON text without its signature
    #[arg(long, value_name = "REGEX", help_heading = "What to show")]
    pub exclude: Vec<String>,

    /// Show only messages for which the first value of this jq program is neither null nor false
    #[arg(long, value_name = "JQ", help_heading = "What to show")]
    pub filter: Vec<String>,

    /// Messages that were refused, or that may be old traffic sent again
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "What to show")]
    pub unverified: Unverified,

    /// Show the bus's own records too: heartbeats, and how epochs begin
    #[arg(long, help_heading = "What to show")]
    pub heartbeats: bool,

    /// What to show of the past.
    #[command(flatten)]
    pub past: PastOptions,

    /// How to print it.
    #[command(flatten)]
    pub mode: ModeOptions,

    /// Times in UTC; local time otherwise
    #[arg(long, help_heading = "How to print it")]
    pub utc: bool,

    /// Begin each line with the seconds since the one before
    #[arg(long, conflicts_with_all = ["json", "raw", "map", "query"], help_heading = "How to print it")]
    pub delta: bool,

    /// End each record with a NUL instead of a newline
    #[arg(short = '0', long, help_heading = "How to print it")]
    pub null: bool,

    /// Stop after so many printed messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "When to stop")]
    pub count: Option<u64>,

    /// Stop this long after the start (10s, 2m, 1h30m); exit code 4 when by then nothing was printed, or
    /// less than --count
    #[arg(long, value_name = "DURATION", value_parser = fedmsg_tool::duration::parse, help_heading = "When to stop")]
    pub timeout: Option<Duration>,

    /// Exit code 3 when a loss, a fork or a rejection was seen
    #[arg(long, help_heading = "When to stop")]
    pub strict: bool,

    /// At the end say on stderr how many were received, verified, rejected, lost, stale
    #[arg(long, help_heading = "When to stop")]
    pub summary: bool,

    /// How it shows how it is, when it runs as a service.
    #[command(flatten)]
    pub status: StatusOptions,
}

/// What to show of the past, before the present.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The past")]
#[group(skip)]
#[command(group(clap::ArgGroup::new("begin").args(["since", "last", "all", "from"]).multiple(true)))]
pub struct PastOptions {
    /// From this time on: how long ago (30m, 2h, 7d), or when (2026-11-23, 2026-11-23T10:00 by the clock here,
    /// or by UTC with --utc; 2026-11-23T10:00Z)
    #[arg(long, value_name = "WHEN", value_parser = When::parse, conflicts_with_all = ["last", "all"])]
    pub since: Option<When>,

    /// The last N messages, of all streams together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX), conflicts_with_all = ["all", "from", "order"])]
    pub last: Option<u64>,

    /// Everything that is kept
    #[arg(long)]
    pub all: bool,

    /// This stream from message I of its newest epoch on; several are possible, and streams that are not named
    /// begin as the other options say, or with what comes
    #[arg(long, value_name = "STREAM:I", value_parser = Spot::parse)]
    pub from: Vec<Spot>,

    /// End when the past was read; exit code 75 when not all of it could be
    #[arg(long, requires = "begin")]
    pub no_follow: bool,

    /// How to order the past: by the time of the messages, or as it comes, which shows the first ones earlier
    /// [default: time]
    #[arg(long, value_name = "ORDER", value_enum, requires = "begin")]
    pub order: Option<PastOrder>,
}

/// `--order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PastOrder {
    /// By the time of the messages.
    Time,
    /// As they come.
    Arrival,
}

impl From<PastOrder> for Order {
    fn from(order: PastOrder) -> Order {
        match order {
            PastOrder::Time => Order::Time,
            PastOrder::Arrival => Order::Arrival,
        }
    }
}

/// Output modes: at most one.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
#[command(next_help_heading = "How to print it")]
pub struct ModeOptions {
    /// One JSON object a line: the verdict, who signed, and the message as it was signed
    #[arg(long)]
    pub json: bool,

    /// The body, indented and coloured, below a header line
    #[arg(long)]
    pub pretty: bool,

    /// The second frame as it came
    #[arg(long)]
    pub raw: bool,

    /// Topics alone
    #[arg(long)]
    pub topics_only: bool,

    /// By this format: %t topic, %i number, %s signer, %S summary, %T time, %e endpoint, %m body, %j whole
    /// message, %k key, %u username, %n stream, %v verdict, %%; \n \t \0 \\
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// The values of this jq program, each on a line
    #[arg(long, value_name = "JQ")]
    pub map: Option<String>,

    /// The values at these paths (a.b,c.0), each on a line
    #[arg(long, value_name = "PATHS")]
    pub query: Option<String>,
}

/// `--unverified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Unverified {
    /// Print them too, marked.
    Show,
    /// Do not print them; stderr tells of them.
    #[default]
    Hide,
    /// Print nothing else.
    Only,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Tail {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn command_lines_are_read_or_refused() {
        for (line, is_good) in [
            ("", true),
            ("bodhi koji.* --not x --include a --include b --count 3 --timeout 1m30s", true),
            ("--json -0 --unverified only --heartbeats --strict --summary", true),
            ("--format %t --delta --utc", true),
            ("--since 2h --no-follow --order arrival", true),
            ("--since 2026-11-23T10:00 --from a.b/0:7 --from a.b/1:9", true),
            ("--last 50 --no-follow --count 3", true),
            ("--all --json", true),
            ("--since yesterday", false),
            ("--since 2h --all", false),
            ("--last 0", false),
            ("--last 1000000", false),
            ("--last 5 --since 2h", false),
            ("--last 5 --from a.b/0:7", false),
            ("--from a.b/0", false),
            ("--no-follow", false),
            ("--order time", false),
            ("--json --raw", false),
            ("--map . --pretty", false),
            ("--query a --map .", false),
            ("--json --delta", false),
            ("--count 0", false),
            ("--timeout 10", false),
            ("--unverified maybe", false),
        ] {
            let words = ["tail"].into_iter().chain(line.split_whitespace());
            assert_eq!(Tail::try_parse_from(words).is_ok(), is_good, "{line}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        <Tail as clap::CommandFactory>::command().debug_assert();
    }
}
