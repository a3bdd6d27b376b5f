//! What can be said on the command line besides the paths.

use crate::Failure;
use crate::unsynced::Bug;

/// The options, with what stands for those that were not given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Accounts of a new network; each has one writer.
    pub(crate) accounts: u32,
    /// How long blocks are kept, in block time: short, so that pruning happens all the time.
    pub(crate) retention_ms: u64,
    /// Below how many free bytes the ledger only reads.
    pub(crate) space_low_bytes: u64,
    /// How many transfers each writer makes.
    pub(crate) transfers: u64,
    /// A planted bug in the syncs of files.
    pub(crate) sync_bug: Option<Bug>,
    /// A planted bug: writers are answered before they have asked.
    pub(crate) tells_early: bool,
}

impl Options {
    /// Takes the options out of the words.
    pub(crate) fn take(words: &[String]) -> Result<(Vec<String>, Self), Failure> {
        let mut options = Self {
            accounts: 16,
            retention_ms: 2_000,
            space_low_bytes: 0,
            transfers: u64::MAX,
            sync_bug: None,
            tells_early: false,
        };
        let mut rest = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--accounts" => options.accounts = value()?.parse()?,
                "--retention-ms" => options.retention_ms = value()?.parse()?,
                "--space-low-bytes" => options.space_low_bytes = value()?.parse()?,
                "--transfers" => options.transfers = value()?.parse()?,
                "--without-sync" => options.sync_bug = Some(Bug::Missing),
                "--unheeded-sync" => options.sync_bug = Some(Bug::Unheeded),
                "--tells-early" => options.tells_early = true,
                unknown if unknown.starts_with("--") => {
                    return Err(format!("there is no option {unknown}").into());
                }
                _ => rest.push(word.clone()),
            }
        }
        Ok((rest, options))
    }
}
