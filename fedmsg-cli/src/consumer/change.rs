//! `fedmsg consumer seek`, `skip`, `retry` and `delete`: what an operator changes, and what is said of it.

use clap::Args;
use fedmsg::StreamName;
use fedmsg::config::Config;
use fedmsg::consumer::{ConsumerName, CursorStore, LetterFilter};
use fedmsg::envelope::Epoch;
use fedmsg::limits::{NUMBER_MAX, STORE_BATCH_MAX};

use super::show::each_letter;
use super::{Error, now};
use crate::config::counted;
use crate::journal::epoch;

pub(super) const SEEK_EXAMPLES: &str = "\
Examples:
  fedmsg consumer seek badges bodhi.backend01/0 1200    number 1,201 is next, and all behind it
  fedmsg consumer seek badges bodhi.backend01/0 0       the whole epoch once more
  fedmsg consumer seek badges bodhi.backend01/0 7 --epoch 01997530-0000-7000-8000-000000000001

NUMBER is done afterwards, and so is everything before it. Messages behind it come again: a consumer must take
that. What a publisher no longer keeps is reported as lost when the consumer asks for it.

Exit codes: 0 success · 1 failure, or no such consumer · 2 wrong command line · 75 somebody runs the consumer";

pub(super) const SKIP_EXAMPLES: &str = "\
Examples:
  fedmsg consumer skip badges bodhi.backend01/0 1

The consumer never gets these messages. Where a single one cannot be handled, letting it become a dead letter is
better: that can be tried again.

Exit codes: 0 success · 1 failure, or no such consumer or cursor · 2 wrong command line · 75 somebody runs the
consumer";

pub(super) const RETRY_EXAMPLES: &str = "\
Examples:
  fedmsg consumer show badges --letters             which there are
  fedmsg consumer retry badges 3 4
  fedmsg consumer retry badges --all --topic bodhi.update

The consumer finds them among what is due, also when it runs at the moment. They are verified again before they
are handed out.

Exit codes: 0 success · 1 failure, or no such consumer or dead letter · 2 wrong command line";

pub(super) const DELETE_EXAMPLES: &str = "\
Examples:
  fedmsg consumer delete badges

Its cursors, refusals, retries and dead letters are gone. A consumer of the same name begins anew.

Exit codes: 0 success · 1 failure, or no such consumer · 2 wrong command line · 75 somebody runs the consumer";

#[derive(Args)]
pub(super) struct Seek {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,

    /// Which stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// The last message that counts as done
    #[arg(value_parser = clap::value_parser!(u64).range(..=NUMBER_MAX))]
    number: u64,

    /// Its epoch [default: that of the cursor]
    #[arg(long, value_name = "EPOCH", value_parser = epoch)]
    epoch: Option<Epoch>,
}

#[derive(Args)]
pub(super) struct Skip {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,

    /// Which stream, IDENTITY/SLOT
    #[arg(value_parser = StreamName::parse)]
    stream: StreamName,

    /// How many messages
    #[arg(value_parser = clap::value_parser!(u64).range(1..=NUMBER_MAX))]
    count: u64,
}

#[derive(Args)]
pub(super) struct Retry {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,

    /// Numbers of dead letters
    #[arg(value_name = "LETTER", required_unless_present = "all", conflicts_with = "all")]
    letters: Vec<u64>,

    /// All that fit
    #[arg(long)]
    all: bool,

    /// Of this stream, IDENTITY/SLOT
    #[arg(long, value_parser = StreamName::parse, requires = "all")]
    stream: Option<StreamName>,

    /// Of these topics
    #[arg(long, value_name = "PATTERN", requires = "all")]
    topic: Option<String>,
}

#[derive(Args)]
pub(super) struct Delete {
    /// Which consumer
    #[arg(value_parser = ConsumerName::parse)]
    name: ConsumerName,
}

pub(super) fn seek(options: &Seek, store: &mut dyn CursorStore) -> Result<String, Error> {
    let Seek { name, stream, number, epoch } = options;
    let cursors = store.load(name)?;
    let cursor = cursors.iter().find(|cursor| cursor.position.stream == *stream);
    let epoch = epoch
        .or(cursor.map(|cursor| cursor.position.epoch))
        .ok_or_else(|| Error::NoEpoch { consumer: name.clone(), stream: stream.clone() })?;
    store.seek(name, stream, epoch, *number, now())?;
    Ok(format!("{name}: {stream} is done up to number {number} of epoch {epoch}"))
}

pub(super) fn skip(options: &Skip, store: &mut dyn CursorStore) -> Result<String, Error> {
    let Skip { name, stream, count } = options;
    let at = store.skip(name, stream, *count, now())?.position;
    Ok(format!("{name}: {stream} is done up to number {} of epoch {}", at.i, at.epoch))
}

pub(super) fn retry(
    options: &Retry,
    store: &mut dyn CursorStore,
    config: &Config,
) -> Result<String, Error> {
    let name = &options.name;
    let letters =
        if options.all { fitting(options, store, config)? } else { options.letters.clone() };
    let mut count = 0;
    for letters in letters.chunks(STORE_BATCH_MAX) {
        count += store.retry(name, letters, now())?;
    }
    if count == 0 && !options.all {
        return Err(Error::NoLetter(name.clone()));
    }
    Ok(format!("{name}: {} to be tried again", counted(count, "dead letter")))
}

/// The numbers of the dead letters that fit.
fn fitting(
    options: &Retry,
    store: &mut dyn CursorStore,
    config: &Config,
) -> Result<Vec<u64>, Error> {
    let topic = options.topic.as_deref().map(|text| config.trust.naming.pattern(text));
    let topic = topic.transpose().map_err(Error::Pattern)?;
    let filter = LetterFilter { stream: options.stream.clone(), topic };
    let mut letters = Vec::new();
    each_letter(store, &options.name, &filter, |letter| letters.push(letter.id))?;
    Ok(letters)
}

pub(super) fn delete(options: &Delete, store: &mut dyn CursorStore) -> Result<String, Error> {
    store.delete(&options.name, now())?;
    Ok(format!("{}: forgotten", options.name))
}
