//! Values on their way into a database, and rows on their way out.

use bytes::Bytes;

use crate::consumer::{Position, StoreError};
use crate::envelope::Epoch;
use crate::identity::StreamName;
use crate::merkle::Leaf;
use crate::timestamp::Timestamp;

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl From<u64> for Value<'_> {
    /// Numbers of messages, counts and bounds are all below 2^53: checked where they come in.
    fn from(number: u64) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Value::Int(time.as_millis())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a StreamName> for Value<'a> {
    fn from(stream: &'a StreamName) -> Self {
        Value::Text(stream.as_str())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes)
    }
}

impl<'a> From<&'a Option<Leaf>> for Value<'a> {
    fn from(leaf: &'a Option<Leaf>) -> Self {
        leaf.as_ref().map_or(Value::Null, |leaf| Value::Bytes(&leaf.0))
    }
}

/// The bytes of an epoch, as they are stored and ordered.
pub(super) fn epoch_bytes(epoch: Epoch) -> [u8; 16] {
    *epoch.uuid().as_bytes()
}

/// A value that came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row that came out, to be taken apart from left to right.
#[derive(Debug)]
pub struct Row {
    cells: std::vec::IntoIter<Cell>,
    place: std::sync::Arc<str>,
}

impl Row {
    pub(crate) fn new(cells: Vec<Cell>, place: std::sync::Arc<str>) -> Row {
        Row { cells: cells.into_iter(), place }
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { place: self.place.to_string(), detail }
    }

    fn next(&mut self, expected: &str) -> Result<Cell, StoreError> {
        let cell = self.cells.next();
        cell.ok_or_else(|| self.damaged(format!("a row without its {expected}")))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.cells.as_slice().first(), Some(Cell::Null))
    }

    /// `None` for a null, which is taken, too.
    pub(crate) fn or_null<T>(
        &mut self,
        read: impl FnOnce(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.is_null() {
            self.cells.next();
            return Ok(None);
        }
        read(self).map(Some)
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        match self.next("number")? {
            Cell::Int(number) => Ok(number),
            other => Err(self.damaged(format!("{other:?} where a number is expected"))),
        }
    }

    pub(crate) fn count(&mut self) -> Result<u64, StoreError> {
        let number = self.int()?;
        u64::try_from(number)
            .map_err(|_| self.damaged(format!("{number} where a count is expected")))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.int().map(Timestamp::from_millis)
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        match self.next("text")? {
            Cell::Text(text) => Ok(text),
            other => Err(self.damaged(format!("{other:?} where a text is expected"))),
        }
    }

    /// A text that has a form.
    pub(crate) fn parsed<T>(
        &mut self,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| self.damaged(format!("{text:?} is no {what}")))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, StoreError> {
        match self.next("bytes")? {
            Cell::Bytes(bytes) => Ok(bytes.into()),
            other => Err(self.damaged(format!("{other:?} where bytes are expected"))),
        }
    }

    pub(crate) fn leaf(&mut self) -> Result<Leaf, StoreError> {
        let bytes = self.bytes()?;
        let leaf = bytes.as_ref().try_into().map(Leaf);
        leaf.map_err(|_| self.damaged(format!("a leaf of {} bytes", bytes.len())))
    }

    /// Stream, epoch and number.
    pub(crate) fn position(&mut self) -> Result<Position, StoreError> {
        let stream = self.parsed("stream", |text| StreamName::parse(text).ok())?;
        let bytes = self.bytes()?;
        let uuid = uuid::Uuid::from_slice(&bytes);
        let epoch = uuid.map_err(|_| self.damaged(format!("an epoch of {} bytes", bytes.len())))?;
        Ok(Position { stream, epoch: Epoch::new(epoch), i: self.count()? })
    }
}
