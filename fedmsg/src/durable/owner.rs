//! What a process calls itself as the owner of a consumer, so that another one of the same host can tell whether
//! it is still there.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::OWNER_BYTES_MAX;

/// How many consumers this process has claimed: two of one name are two owners.
static CLAIMS: AtomicU64 = AtomicU64::new(0);

/// The name of an owner: `HOST, process PID #N (STARTED of PLACE)`. PLACE names the run of the kernel and the
/// namespace of process ids, STARTED when the process began: together they tell a process from another one of the
/// same number.
pub(super) fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (pid, claim) = (std::process::id(), CLAIMS.fetch_add(1, Ordering::Relaxed));
    let mut name = host.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    name.push_str(&format!(", process {pid} #{claim}"));
    if let (Some(started), Some(place)) = (started(pid), place()) {
        name.push_str(&format!(" ({started} of {place})"));
    }
    debug_assert!(name.len() <= OWNER_BYTES_MAX);
    name
}

/// Whether the owner of this name is known to be gone: a process of this very place that is there no more.
/// `false` for whatever cannot be known.
pub(super) fn is_gone(name: &str) -> bool {
    let Some((pid, from, of)) = parse(name) else { return false };
    place().is_some_and(|here| here == of) && started(pid) != Some(from)
}

/// Process id, start and place.
fn parse(name: &str) -> Option<(u32, u64, &str)> {
    let (front, back) = name.strip_suffix(')')?.rsplit_once(" (")?;
    let (started, place) = back.split_once(" of ")?;
    let (_, process) = front.rsplit_once(", process ")?;
    let (pid, _) = process.split_once(" #")?;
    Some((pid.parse().ok()?, started.parse().ok()?, place))
}

/// This run of the kernel, and the namespace that process ids are of.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let namespace = namespace.to_str()?.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    Some(format!("{}/{namespace}", boot.trim()))
}

/// When a process began, in ticks since the kernel did; nothing when there is no such process, or it is dead and
/// nobody has asked for its end.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses and may have anything in it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut words = after.split_whitespace();
    let state = words.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    words.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_not_gone_and_two_claims_differ() {
        let (one, other) = (name(), name());
        assert_ne!(one, other);
        assert!(one.len() <= OWNER_BYTES_MAX && !is_gone(&one), "{one}");
    }

    #[test]
    fn only_a_process_of_this_place_can_be_known_to_be_gone() {
        let own = name();
        let Some((pid, started, place)) = parse(&own) else {
            panic!("{own} does not say which process it is: is there no /proc?");
        };
        let of = |pid: u32, started: u64, place: &str| {
            format!("host, process {pid} #0 ({started} of {place})")
        };
        assert!(!is_gone(&of(pid, started, place)));
        assert!(is_gone(&of(pid, started + 1, place)), "another one had its number before");
        assert!(is_gone(&of(u32::MAX, 1, place)), "there is none of this number");
        assert!(!is_gone(&of(u32::MAX, 1, "elsewhere/1")));
        for other in ["host1 4711", "fedmsg refused retry, process 7", "", "x (1 of y)"] {
            assert!(!is_gone(other), "{other}");
        }
    }
}
