//! PAX extended headers: `<length> <key>=<value>\n`, as many as fit.

use super::error::Refusal;
use crate::image::limits::XATTRS_MAX;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What a PAX header says about the entry after it. Unknown keys are comments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut pax = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for record in Records(bytes) {
            let (key, value) = record?;
            // The last one would win here, the first one elsewhere.
            if !seen.insert(key) {
                return Err(Refusal::BadPax);
            }
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    /// Checks that a global header only carries comments: `git archive` writes one.
    pub(super) fn parse_global(bytes: &[u8]) -> Result<(), Refusal> {
        for record in Records(bytes) {
            let (key, _) = record?;
            if changes_entries(key) {
                return Err(Refusal::GlobalPax);
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if key.starts_with(b"GNU.sparse.") {
            return Err(Refusal::Sparse);
        }
        if let Some(name) = key.strip_prefix(XATTR) {
            if self.xattrs.len() == XATTRS_MAX || name.len() > 255 || value.len() > 64 * 1024 {
                return Err(Refusal::XattrTooLong);
            }
            if name.is_empty() || name.contains(&0) {
                return Err(Refusal::BadPax);
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            // These change how names are read; no builder writes them.
            b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" && value != b"BINARY" => {
                return Err(Refusal::BadPax);
            }
            _ => {}
        }
        Ok(())
    }
}

fn changes_entries(key: &[u8]) -> bool {
    key.starts_with(b"GNU.sparse.")
        || key.starts_with(b"SCHILY.")
        || key.starts_with(b"LIBARCHIVE.")
        || matches!(
            key,
            b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime" | b"hdrcharset"
        )
}

fn name(value: &[u8]) -> Result<Vec<u8>, Refusal> {
    if value.is_empty() {
        // An empty value takes the key back, which only a global header could need.
        return Err(Refusal::BadPax);
    }
    if value.contains(&0) {
        return Err(Refusal::ZeroInName);
    }
    Ok(value.to_vec())
}

fn number(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadPax);
    }
    let text = std::str::from_utf8(value).map_err(|_| Refusal::BadPax)?;
    text.parse().map_err(|_| Refusal::BadPax)
}

/// `-1.25` is one and a quarter seconds before 1970: −2 s and 750 000 000 ns.
fn time(value: &[u8]) -> Result<(i64, u32), Refusal> {
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = number(parts.next().unwrap_or_default())?;
    let whole = i64::try_from(whole).map_err(|_| Refusal::BadPax)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadPax);
    }
    let digit = |at: usize| u32::from(fraction.get(at).map_or(0, |digit| digit - b'0'));
    let nanos = (0..9).fold(0, |nanos, at| nanos * 10 + digit(at));
    match (is_negative, nanos) {
        (false, _) => Ok((whole, nanos)),
        (true, 0) => Ok((-whole, 0)),
        (true, _) => Ok((-whole - 1, 1_000_000_000 - nanos)),
    }
}

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let parsed = record(self.0);
        match parsed {
            Some((key, value, rest)) => {
                self.0 = rest;
                Some(Ok((key, value)))
            }
            None => {
                self.0 = &[];
                Some(Err(Refusal::BadPax))
            }
        }
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space]).ok()?).ok()?;
    if length <= space + 1 || length > bytes.len() || bytes[0] == b'0' {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}
