//! How much memory a relay takes that carries many streams, and whether more messages of them take more.

use std::fs;

use super::super::bus::Bus;
use super::super::place::Place;
use super::super::progress::Progress;
use super::super::tail::{MEGABYTES_MAX, megabytes_max};
use super::super::{Bound, Error, Figure};
use super::producers::Producers;
use super::putting::Putting;
use super::relay::Relay;
use super::whole;

/// Messages of each stream, besides its first one: 10,000 streams when `--messages` is at its default.
const EACH: u64 = 20;
/// They come in so many rounds: in each, every stream has its turn.
const ROUNDS: u64 = 4;
/// Identities that the streams belong to.
const IDENTITIES: usize = 100;
/// Bytes of a body: streams count here, and not what they say.
const SIZE: usize = 100;
/// Megabytes by which the second half of the messages may make it grow.
const GROWTH_MAX: f64 = 10.0;

/// The highest resident memory, and by how much it grows from half of the messages to all of them.
pub(in super::super) fn measure(place: &Place, messages: u64) -> Result<Vec<Figure>, Error> {
    let streams = usize::try_from(messages.div_ceil(EACH)).map_err(Error::other)?;
    let bus = Bus::relayed(IDENTITIES, place.path())?;
    let folder = bus.config_dir();
    let mut producers = Producers::new(&folder, &bus.identities, streams, SIZE)?;
    let relay = Relay::start(&folder)?;
    let mut putting = Putting::to(bus.submit())?;
    let progress = Progress::new("carried", streams as u64 * (EACH + 2));
    let mut round = |count: u64| -> Result<f64, Error> {
        for stream in 0..streams {
            putting.put(stream, producers.seal(stream, count as usize)?)?;
            progress.at(putting.stored);
        }
        putting.finish()?;
        megabytes_now(relay.id())
    };
    let mut now = vec![round(1)?];
    for _ in 0..ROUNDS {
        now.push(round(EACH / ROUNDS)?);
    }
    let most = megabytes_max(relay.id())?;
    relay.end()?;
    let [first, half, last] = [0, ROUNDS / 2, ROUNDS].map(|at| now[at as usize]);
    let of = format!("{streams} streams of {IDENTITIES} identities; {}", place.name());
    let detail = format!("{last:.1} MB after {EACH} more messages of each of {of}");
    let steps = format!(
        "{first:.1} MB after one message, {half:.1} after half of them, {last:.1} after all, of {of}"
    );
    Ok(vec![
        whole("carried", most, "MB at most", Bound::AtMost(MEGABYTES_MAX), detail),
        whole("carried growth", last - half, "MB", Bound::AtMost(GROWTH_MAX), steps),
    ])
}

/// The resident memory of a process now.
fn megabytes_now(process: u32) -> Result<f64, Error> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = kilobytes.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kilobytes.ok_or_else(|| Error::other("the relay has ended"))? / 1_024.0)
}
