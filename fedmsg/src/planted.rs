//! Bugs that are built in on purpose, so that it can be shown that the tests find them.
//!
//! They exist only under `RUSTFLAGS="--cfg planted_bugs"`, and one of them is chosen when a test runs, by
//! `FEDMSG_BUG=name`. No feature of the crate switches them on.

/// Whether the bug of this name is to happen. Never, in what is shipped.
#[cfg(not(planted_bugs))]
pub const fn bug(_name: &str) -> bool {
    false
}

/// Whether the bug of this name is to happen.
#[cfg(planted_bugs)]
pub fn bug(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("FEDMSG_BUG").ok()).as_deref() == Some(name)
}
