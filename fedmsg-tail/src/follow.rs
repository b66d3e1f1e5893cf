//! The loop: events come in, records go out, troubles go to the log, and everything is counted.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use fedmsg::Identity;
use fedmsg::event::{CaughtUp, Event};
use fedmsg_tool::Code;
use fedmsg_tool::output::Data;
use tracing::{info, warn};

use crate::counts::Counts;
use crate::filter::Filter;
use crate::item::Item;
use crate::jq::JqError;
use crate::options::{Options, Unverified};
use crate::past::Past;
use crate::reading::Reading;
use crate::render::Renderer;
use crate::tell::{tell, tell_past};

/// Different failures of jq programs that are told apart; what comes beyond is counted alone.
const JQ_FAILURES_MAX: usize = 32;
/// Events that are printed before what was gathered is written, however many are waiting.
const UNFLUSHED_MAX: u32 = 10_000;

/// Why a tail stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `--count` messages were printed.
    Counted,
    /// The time of `--timeout` is over.
    TimedOut,
    /// The reader of stdout went away.
    ReaderGone,
    /// The past was read, as far as it can be, and nothing else was asked for.
    PastOver,
    /// No event will come any more: the subscriber was closed.
    Closed,
}

/// One tail.
#[derive(Debug)]
pub struct Tail {
    filter: Filter,
    renderer: Renderer,
    unverified: Unverified,
    strict: bool,
    count: Option<u64>,
    timeout: Option<Duration>,
    counts: Counts,
    jq_told: HashSet<String>,
    /// Endpoints that nobody misses when they are down.
    not_missed: Vec<Identity>,
    last_record: Option<Instant>,
    record: Vec<u8>,
    /// The past, while it is read.
    reading: Option<Reading>,
    /// Some of the past could not be read.
    is_past_incomplete: bool,
}

impl Tail {
    /// A tail as the options say.
    pub fn new(options: &Options, filter: Filter, renderer: Renderer) -> Tail {
        Tail {
            filter,
            renderer,
            unverified: options.unverified,
            strict: options.strict,
            count: options.count,
            timeout: options.timeout,
            counts: Counts::default(),
            jq_told: HashSet::new(),
            not_missed: Vec::new(),
            last_record: None,
            record: Vec::new(),
            reading: None,
            is_past_incomplete: false,
        }
    }

    /// That one of these endpoints is down is told only to those who ask for everything: without any
    /// configuration, nobody has to publish.
    pub fn not_missing(mut self, endpoints: Vec<Identity>) -> Tail {
        self.not_missed = endpoints;
        self
    }

    /// Shows the past first.
    pub fn with_past(mut self, past: Option<&Past>) -> Tail {
        self.reading = past.map(Reading::new);
        self
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The exit code of a tail that ended so, where `signal` is that of the signal that closed it.
    pub fn code(&self, end: End, signal: Option<Code>) -> Code {
        let counts = &self.counts;
        let wanted = self.count.unwrap_or(1);
        let is_cut_off = self.reading.as_ref().is_some_and(|reading| !reading.follows);
        match (end, signal) {
            _ if self.strict && counts.is_trouble() => Code::Trouble,
            (End::TimedOut, _) if counts.printed < wanted || is_cut_off => Code::TimedOut,
            (End::PastOver, _) if self.is_past_incomplete => Code::RetryLater,
            (End::Closed, Some(code)) => code,
            _ => Code::Ok,
        }
    }

    /// Prints events until there is a reason to stop. Flushes whenever no event is waiting.
    ///
    /// `recv(time-out)` gives the next event; `None` says that the time is over, or that no event will ever
    /// come again: the loop tells these apart by its own clock.
    pub fn follow<W: Write>(
        &mut self,
        mut recv: impl FnMut(Option<Duration>) -> Option<Event>,
        data: &mut Data<W>,
    ) -> io::Result<End> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let left = || deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let mut unflushed = 0;
        loop {
            let waiting = match unflushed {
                0 => None,
                UNFLUSHED_MAX.. => None,
                _ => recv(Some(Duration::ZERO)),
            };
            let event = match waiting {
                Some(event) => event,
                None => {
                    if unflushed > 0 && data.flush()?.is_gone() {
                        return Ok(End::ReaderGone);
                    }
                    unflushed = 0;
                    let Some(event) = recv(left()) else {
                        let is_over = left().is_some_and(|left| left.is_zero());
                        return if is_over { self.time_is_over(data) } else { Ok(End::Closed) };
                    };
                    event
                }
            };
            unflushed += 1;
            if let Some(end) = self.take(&event, data)? {
                return Ok(if data.flush()?.is_gone() { End::ReaderGone } else { end });
            }
            // A busy bus must not outlast the time.
            if left().is_some_and(|left| left.is_zero()) {
                return self.time_is_over(data);
            }
        }
    }

    /// Counts and tells one event, and prints it. Says when that was the last one.
    fn take<W: Write>(&mut self, event: &Event, data: &mut Data<W>) -> io::Result<Option<End>> {
        if self.reading.as_mut().is_some_and(|reading| !reading.takes(event)) {
            return Ok(None);
        }
        self.counts.count(event);
        match event {
            Event::Endpoint(change) if self.not_missed.contains(&change.endpoint) => {
                info!("{change}");
            }
            event => tell(event, self.unverified),
        }
        let item = match event {
            Event::Message(message) | Event::Internal(message) => Item::Verified(message),
            Event::Stale(message) => Item::Stale(message),
            Event::Rejected(rejected) => Item::Rejected(rejected),
            Event::CaughtUp(past) => return self.end_past(past, data),
            _ => return Ok(None),
        };
        if !self.print(&item) {
            return Ok(None);
        }
        let is_past = item.message().is_some_and(|message| message.replayed);
        let newest = self.reading.as_mut().filter(|_| is_past).and_then(Reading::newest);
        if let Some(newest) = newest {
            newest.push(&self.record);
            return Ok(None);
        }
        let record = std::mem::take(&mut self.record);
        let end = self.write(&record, data);
        self.record = record;
        end
    }

    /// Writes a record. Says when that was the last one.
    fn write<W: Write>(&mut self, record: &[u8], data: &mut Data<W>) -> io::Result<Option<End>> {
        if data.record(record)?.is_gone() {
            return Ok(Some(End::ReaderGone));
        }
        self.counts.printed += 1;
        Ok(self.count.filter(|count| self.counts.printed >= *count).map(|_| End::Counted))
    }

    fn end_past<W: Write>(
        &mut self,
        past: &CaughtUp,
        data: &mut Data<W>,
    ) -> io::Result<Option<End>> {
        let Some(mut reading) = self.reading.take() else { return Ok(None) };
        let missing = reading.missing();
        self.is_past_incomplete = !past.is_complete() || !missing.is_empty();
        tell_past(past, missing, reading.follows);
        let end = self.write_newest(&mut reading, data)?;
        Ok(end.or((!reading.follows).then_some(End::PastOver)))
    }

    fn write_newest<W: Write>(
        &mut self,
        reading: &mut Reading,
        data: &mut Data<W>,
    ) -> io::Result<Option<End>> {
        let Some(newest) = reading.newest() else { return Ok(None) };
        if newest.left_out() > 0 {
            warn!("{} more of --last are too long to be kept together", newest.left_out());
        }
        for record in newest.drain() {
            if let Some(end) = self.write(&record, data)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The time of `--timeout` is over: shows what there is.
    fn time_is_over<W: Write>(&mut self, data: &mut Data<W>) -> io::Result<End> {
        let mut end = None;
        if let Some(mut reading) = self.reading.take() {
            warn!("the past was not read to its end within the time of --timeout");
            end = self.write_newest(&mut reading, data)?;
            self.reading = Some(reading);
        }
        let is_gone = data.flush()?.is_gone();
        Ok(if is_gone { End::ReaderGone } else { end.unwrap_or(End::TimedOut) })
    }

    /// Puts what is to be printed into the record; whether that is anything.
    fn print(&mut self, item: &Item<'_>) -> bool {
        self.record.clear();
        match self.filter.keeps(item) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(failure) => {
                self.tell_jq(&failure);
                return false;
            }
        }
        let since_last = match self.renderer.wants_delta() {
            true => {
                let now = Instant::now();
                let last = self.last_record.replace(now);
                last.map_or(Duration::ZERO, |last| now.duration_since(last))
            }
            false => Duration::ZERO,
        };
        if let Err(failure) = self.renderer.render(item, since_last, &mut self.record) {
            self.tell_jq(&failure);
        }
        !self.record.is_empty()
    }

    /// Each failure is told once.
    fn tell_jq(&mut self, failure: &JqError) {
        self.counts.jq_failures += 1;
        let text = failure.to_string();
        if self.jq_told.len() < JQ_FAILURES_MAX && self.jq_told.insert(text) {
            warn!("the jq program failed on a message: {failure}");
        }
    }
}

#[cfg(test)]
mod tests;
