//! What a proof needs of the machine, and what is said where it is not there.

use std::io::Write;
use std::process::{Command, Stdio};

/// Says on stderr, past the capture of the test runner, that a proof was not run. `FEDMSG_REQUIRE` names what must be
/// there, separated by commas (`strace`, `mount`, `netns`, or `all`): then the test fails instead.
pub fn not_run(need: &str, why: &str) {
    let required = std::env::var("FEDMSG_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|one| one == need || one == "all");
    assert!(!required, "FEDMSG_REQUIRE asks for {need}, and {why}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    say(&format!("NOT RUN: {test}: {why} (with FEDMSG_REQUIRE={need} this fails)"));
}

/// Says something on stderr, past the capture of the test runner.
pub fn say(text: &str) {
    // With nobody to tell it to, it is as it is.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a command ends well; what it says is nobody's business.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
