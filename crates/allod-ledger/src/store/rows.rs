//! The rows of the state: those of the file, with what the backlog changes of them.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};

use super::error::During;
use super::{ROWS, Store, StoreError, Tip, tip_of};

/// A row, encoded.
pub(super) type Row = (Vec<u8>, Vec<u8>);

impl Store {
    /// The tip, and every row as it leaves them, in the order of their keys.
    pub(super) fn read_rows<T>(
        &self,
        read_on: impl FnOnce(Tip, &mut dyn Iterator<Item = Result<Row, StoreError>>) -> T,
    ) -> Result<Option<T>, StoreError> {
        // In this order: what leaves the backlog in between is in the file.
        let backlog = self.database.backlog().clone();
        let read = self.read()?;
        let Some(tip) = tip_of(backlog.last().as_deref(), &read)? else {
            return Ok(None);
        };
        let rows = read.open_table(ROWS).during("reading")?;
        let rows = rows.iter().during("reading")?.map(|row| {
            let (key, value) = row.during("reading")?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        Ok(Some(read_on(tip, &mut changed(rows, backlog.rows()))))
    }
}

/// `rows` with what changes of them, in the order of their keys.
pub(super) fn changed<'a>(
    rows: impl Iterator<Item = Result<Row, StoreError>> + 'a,
    changes: BTreeMap<&'a [u8], Option<&'a [u8]>>,
) -> impl Iterator<Item = Result<Row, StoreError>> + 'a {
    let (mut rows, mut changes) = (rows.peekable(), changes.into_iter().peekable());
    std::iter::from_fn(move || {
        loop {
            match (rows.peek(), changes.peek()) {
                (Some(Ok((key, _))), Some((changed, _))) if key[..] == **changed => {
                    rows.next();
                }
                (Some(Ok((key, _))), Some((changed, _))) if key[..] > **changed => {}
                (None, Some(_)) => {}
                _ => return rows.next(),
            }
            if let Some((key, Some(value))) = changes.next() {
                return Some(Ok((key.to_vec(), value.to_vec())));
            }
        }
    })
}

pub(super) fn write_rows<'a>(
    change: &WriteTransaction,
    rows: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Result<(), StoreError> {
    let mut table = change.open_table(ROWS).during("writing")?;
    for (key, value) in rows {
        match value {
            Some(value) => drop(table.insert(key, value).during("writing")?),
            None => drop(table.remove(key).during("writing")?),
        }
    }
    Ok(())
}
