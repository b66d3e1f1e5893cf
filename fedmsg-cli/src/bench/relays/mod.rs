//! The figures of relays: what one stores, carries and remembers, and what a command that waits for one takes.

mod carried;
mod command;
mod hop;
mod producers;
mod put;
mod putting;
mod relay;

use std::path::Path;
use std::sync::Arc;

use fedmsg::config::{Config, LoadOptions};

pub(super) use carried::measure as carried;
pub(super) use command::measure as command;
pub(super) use hop::{measure as hop, publish_as_told};
pub(super) use put::measure as put;

use super::{Bound, Error, Figure};

/// The configuration in a folder.
fn load(folder: &Path) -> Result<Arc<Config>, Error> {
    let options = LoadOptions { folder: Some(folder.to_owned()), ..LoadOptions::default() };
    Ok(Arc::new(Config::load(&options).map_err(Error::other)?))
}

/// A figure of which nothing was lost, and nothing came twice.
fn whole(
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: Bound,
    detail: String,
) -> Figure {
    Figure { name, value, unit, bound, whole: true, lost: 0, duplicates: 0, detail }
}
