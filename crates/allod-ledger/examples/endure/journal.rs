//! What all the writers of one folder printed, read back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Failure;

/// Where a writer was told its transfer is.
pub(crate) type Place = Option<(u64, u32)>;

/// Everything that was told.
#[derive(Default)]
pub(crate) struct Journal {
    /// By account and nonce: where.
    pub(crate) answers: BTreeMap<(usize, u64), Place>,
    /// By height: block time and id.
    pub(crate) commits: BTreeMap<u64, (u64, String)>,
    /// How many signatures left.
    pub(crate) signatures: u64,
    /// The height of the newest snapshot that was told.
    pub(crate) snapshot: Option<u64>,
    /// How often the ledger stopped taking transactions for want of space, and went on.
    pub(crate) fulls: u64,
    pub(crate) rooms: u64,
    /// What contradicts itself.
    pub(crate) violations: Vec<String>,
    signed: BTreeMap<(u8, u64, u32), String>,
}

impl Journal {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)?;
        let mut journal = Self::default();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            journal
                .line(&words)
                .map_err(|error| format!("{}:{}: {line}: {error}", path.display(), at + 1))?;
        }
        Ok(journal)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), Failure> {
        match *words {
            ["a", account, nonce, "?", "?"] => {
                self.answer((account.parse()?, nonce.parse()?), None);
            }
            ["a", account, nonce, height, index] => {
                let place = Some((height.parse()?, index.parse()?));
                self.answer((account.parse()?, nonce.parse()?), place);
            }
            ["b", height, time_ms, id] => {
                let (height, told) = (height.parse()?, (time_ms.parse()?, id.to_owned()));
                let first = self.commits.entry(height).or_insert_with(|| told.clone());
                if *first != told {
                    let what = format!("two: block {height} was told as {first:?} and {told:?}");
                    self.violations.push(what);
                }
            }
            ["s", kind, height, round, value] => {
                let place = (kind.parse()?, height.parse()?, round.parse()?);
                self.signature(place, value);
            }
            ["m", height] => self.snapshot = self.snapshot.max(Some(height.parse()?)),
            ["full"] => self.fulls += 1,
            ["room"] => self.rooms += 1,
            ["ready" | "stale" | "r" | "x" | "stopped" | "note", ..] => {}
            _ => return Err("not a line of a writer".into()),
        }
        Ok(())
    }

    fn answer(&mut self, which: (usize, u64), place: Place) {
        let first = *self.answers.entry(which).or_insert(place);
        match (first, place) {
            (None, Some(_)) => drop(self.answers.insert(which, place)),
            (Some(first), Some(second)) if first != second => self.violations.push(format!(
                "two: the transfer {which:?} was told to be at {first:?} and at {second:?}"
            )),
            _ => {}
        }
    }

    fn signature(&mut self, place: (u8, u64, u32), value: &str) {
        self.signatures += 1;
        let first = self.signed.entry(place).or_insert_with(|| value.to_owned());
        if first != value {
            self.violations.push(format!(
                "signed: {first} and {value} at kind, height and round {place:?}"
            ));
        }
    }
}
