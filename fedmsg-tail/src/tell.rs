//! What stderr hears of troubles and changes.

use std::time::Instant;

use fedmsg::event::{CaughtUp, ConfigChange, EndpointStatus, Event, Rejected};
use fedmsg::identity::{Identity, StreamName};
use tracing::{debug, error, info, warn};

use crate::options::Unverified;

/// Tells troubles and changes to the log.
pub(crate) fn tell(event: &Event, unverified: Unverified) {
    match event {
        Event::Lost(lost) => warn!("{lost}"),
        Event::Stalled(stalled) => warn!("{stalled}"),
        Event::Fork(fork) => error!("{fork}"),
        Event::Rejected(rejected) => tell_rejected(rejected, unverified),
        Event::Stale(message) if unverified == Unverified::Hide => warn!(
            repeat = %format_args!("stale {}", message.verified.stream()),
            "not shown, because it may be old traffic sent again: {} number {} on {}",
            message.verified.stream(),
            message.verified.i(),
            message.verified.topic(),
        ),
        Event::Epoch(change) => match change.proven || change.from.is_none() {
            true => info!("{change}"),
            false => warn!("{change}"),
        },
        Event::Endpoint(change) => match change.status {
            EndpointStatus::Up => info!("{change}"),
            _ => warn!("{change}"),
        },
        // Each is said, also one that brings back what was in force before.
        Event::Config(change) => match change {
            ConfigChange::Broken(_) => error!(repeat = ?Instant::now(), "{change}"),
            _ => info!(repeat = ?Instant::now(), "{change}"),
        },
        _ => {}
    }
}

/// Names that are told; of those beyond, only how many there are.
const NAMES_MAX: usize = 10;

/// Tells how the reading of the past went.
pub(crate) fn tell_past(past: &CaughtUp, missing: &[StreamName], follows: bool) {
    let advice = match follows {
        true => "what they have is shown when it can be fetched",
        false => "what they have is not shown; try again later",
    };
    if !past.unreachable.is_empty() {
        let names = names(&past.unreachable);
        warn!("nobody answers at the replay addresses of {names}: {advice}");
    }
    if !past.incomplete.is_empty() {
        let names = names(&past.incomplete);
        warn!("these streams could not be read to the end: {names}: {advice}");
    }
    if !missing.is_empty() {
        warn!("nobody who answers has {}: `fedmsg streams` shows what there is", names(missing));
    }
    info!("{past}");
}

fn names(names: &[impl ToString]) -> String {
    let mut text = names.iter().take(NAMES_MAX).map(ToString::to_string).collect::<Vec<_>>();
    if names.len() > NAMES_MAX {
        text.push(format!("and {} more", names.len() - NAMES_MAX));
    }
    text.join(", ")
}

/// Tells whose past nobody keeps.
pub(crate) fn tell_unkept(services: &[Identity]) {
    if !services.is_empty() {
        warn!(
            "no `replay` address is configured, so that there is no past, of {}",
            names(services)
        );
    }
}

/// A refusal that is printed is told to those alone who ask for everything.
fn tell_rejected(rejected: &Rejected, unverified: Unverified) {
    let key = format!("rejected {} {}", rejected.reason.name(), rejected.endpoint);
    match unverified {
        Unverified::Hide => warn!(repeat = key, "{rejected}"),
        Unverified::Show | Unverified::Only => debug!(repeat = key, "{rejected}"),
    }
}
