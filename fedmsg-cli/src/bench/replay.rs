//! Catching up by replay: a subscriber fetches from one holder what it never saw, against a bare ROUTER/DEALER
//! transfer of frames of the same lengths, asked for in the same portions, in turns.

use super::bus::{Bus, free_addresses};
use super::children::Running;
use super::place::Place;
use super::roles::Role;
use super::tally::{Counted, quantile};
use super::{Bound, Error, Figure};

/// The million of the figure, when `--messages` is at its default.
const TIMES: u64 = 5;
/// How often everything is fetched, by the library and bare.
const TURNS: usize = 3;
/// Part of the bare rate that must be reached.
const LEAST: f64 = 0.3;

/// The figure.
pub(super) fn measure(place: &Place, messages: u64, size: usize) -> Result<Figure, Error> {
    let messages = messages * TIMES;
    let bus = Bus::kept(1, place.path())?;
    let folder = bus.config_dir();
    let hold = Role::Hold { identities: bus.identities.clone(), messages, size };
    let mut holder = Running::start(&hold, Some(&folder))?;
    holder.line()?;
    let (mut ratios, mut ours, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut worst = Counted::default();
    for _ in 0..TURNS {
        let mut reader = Running::start(&Role::CatchUp { messages }, Some(&folder))?;
        let counted = told(&mut reader)?;
        let like = transfer(&counted, messages)?;
        ratios.push(counted.rate / like.rate);
        ours.push(counted.rate);
        bare.push(like.rate);
        if counted.lost + counted.duplicates + counted.rejected >= worst.lost {
            worst = counted;
        }
    }
    let Counted { lost, duplicates, rejected, .. } = worst;
    let middle = |rates: &[f64]| quantile(rates, 0.5);
    let [low, high] = [0.0, 1.0].map(|part| quantile(&ratios, part));
    Ok(Figure {
        name: "replay",
        value: middle(&ratios),
        unit: "of bare",
        bound: Bound::AtLeast(LEAST),
        whole: lost == 0 && duplicates == 0 && rejected == 0,
        lost,
        duplicates,
        detail: format!(
            "{messages} messages, {:.0}/s, bare ROUTER/DEALER {:.0}/s, {low:.2} to {high:.2} in {TURNS} turns; {}",
            middle(&ours),
            middle(&bare),
            place.name(),
        ),
    })
}

/// As many frames of the same lengths, without a library.
fn transfer(like: &Counted, messages: u64) -> Result<Counted, Error> {
    let address = free_addresses(1)?.remove(0);
    let (topic, envelope) = (like.topic, like.envelope);
    let hold = Role::BareHold { address: address.clone(), topic, envelope };
    let mut holder = Running::start(&hold, None)?;
    holder.line()?;
    told(&mut Running::start(&Role::BareCatchUp { address, messages }, None)?)
}

fn told(reader: &mut Running) -> Result<Counted, Error> {
    serde_json::from_str(&reader.line()?).map_err(Error::other)
}
