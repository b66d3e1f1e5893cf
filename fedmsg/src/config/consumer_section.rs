//! `[consumer]`: where durable consumers keep what they have done.

use super::Config;
use super::document::Table;
use super::reader::{Findings, field};
use super::settings::section;
use crate::consumer::{CursorStore, StoreAddress, StoreError};

/// The file of the state folder that is used when nothing else is said.
const FILE: &str = "consumers.db";

/// `[consumer]`: the durable consumers of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSection {
    /// Where they keep their cursors; nothing is `consumers.db` in the state folder.
    pub store: Option<StoreAddress>,
}

impl Config {
    /// Where durable consumers keep what they have done.
    pub fn store_address(&self) -> StoreAddress {
        let usual = || StoreAddress::Sqlite(self.state_dir.join(FILE));
        self.consumer.store.clone().unwrap_or_else(usual)
    }

    /// Opens the store of [`store_address`](Config::store_address); makes it when there is none. Blocks; see
    /// [`StoreAddress::open`].
    pub fn open_store(&self) -> Result<Box<dyn CursorStore>, StoreError> {
        self.store_address().open()
    }
}

/// Reads `[consumer]`.
pub(super) fn consumer(root: &Table, findings: &mut Findings) -> ConsumerSection {
    let table = section(root, "consumer", findings);
    let text = table.and_then(|table| field(table, "consumer", "store"));
    let text = text.and_then(|field| field.text(findings));
    let store = text
        .and_then(|text| findings.check(text.place, &text.key, StoreAddress::parse(&text.text)));
    ConsumerSection { store }
}
