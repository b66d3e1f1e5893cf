//! What a relay stores: the streams of a hundred producers, sealed beforehand, put on a few connections until all is
//! answered as stored, against the disk alone: as many bytes, written and synced as often as the relay's log was.

use std::time::Instant;

use super::super::bus::Bus;
use super::super::local::Bare;
use super::super::place::Place;
use super::super::progress::Progress;
use super::super::tally::quantile;
use super::super::{Bound, Error, Figure};
use super::producers::Producers;
use super::putting::Putting;
use super::relay::Relay;
use super::whole;

/// Streams, each of a producer of its own.
const STREAMS: usize = 100;
/// Messages of one PUT.
const TOGETHER: usize = 64;
/// Relay and disk take turns so often.
const TURNS: usize = 5;
/// Part of the disk alone that must be reached.
const LEAST: f64 = 0.4;

/// The figure. Each turn has a relay of its own, which goes on with the log of the one before, and says at its end
/// how often it appended.
pub(in super::super) fn measure(
    place: &Place,
    messages: u64,
    size: usize,
) -> Result<Figure, Error> {
    let bus = Bus::relayed(STREAMS, place.path())?;
    let folder = bus.config_dir();
    let mut producers = Producers::new(&folder, &bus.identities, STREAMS, size)?;
    let of_turn = messages.div_ceil(TURNS as u64);
    let rounds = of_turn.div_ceil((STREAMS * TOGETHER) as u64);
    let progress = Progress::new("put", TURNS as u64 * rounds * (STREAMS * TOGETHER) as u64);
    let (mut ratios, mut rates, mut stored, mut appends) = (Vec::new(), Vec::new(), 0, 0);
    let (mut bare, mut bytes_before, mut bare_rates) = (None, 0, Vec::new());
    for _ in 0..TURNS {
        let mut puts = Vec::new();
        for stream in (0..rounds).flat_map(|_| 0..STREAMS) {
            puts.push((stream, producers.seal(stream, TOGETHER)?));
        }
        let relay = Relay::start(&folder)?;
        let mut putting = Putting::to(bus.submit())?;
        let start = Instant::now();
        for (stream, messages) in puts {
            putting.put(stream, messages)?;
        }
        putting.finish()?;
        let took = start.elapsed();
        let life = relay.end()?;
        let bare = match &mut bare {
            Some(bare) => bare,
            empty => empty.insert(Bare::like(&bus.relay_log(), place.path())?),
        };
        let alone = bare.write(life.log_bytes - bytes_before, life.appends)?;
        bytes_before = life.log_bytes;
        ratios.push(alone.as_secs_f64() / took.as_secs_f64());
        rates.push(putting.stored as f64 / took.as_secs_f64());
        bare_rates.push(putting.stored as f64 / alone.as_secs_f64());
        (stored, appends) = (stored + putting.stored, appends + life.appends);
        progress.at(stored);
    }
    let [low, middle, high] = [0.0, 0.5, 1.0].map(|part| quantile(&ratios, part));
    let detail = format!(
        "{:.0}/s of {STREAMS} streams stored, {:.0} records an append (as the relay counts them), the disk alone {:.0}/s; {low:.2} to {high:.2} in {TURNS} turns; {}",
        quantile(&rates, 0.5),
        stored as f64 / appends as f64,
        quantile(&bare_rates, 0.5),
        place.name(),
    );
    Ok(whole("put", middle, "of bare syncs", Bound::AtLeast(LEAST), detail))
}
