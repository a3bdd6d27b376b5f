//! A tar reader that refuses what others repair.
//!
//! The dialects are v7, ustar, GNU and PAX, as Docker, BuildKit, Podman and GNU tar write them.
//! Where two readers could understand different things, there is no reading: a size in the PAX
//! record that differs from the header's, a long name in two dialects, a repeated PAX key, a
//! directory with contents, a header after the end. That is how archives smuggle entries past
//! a scanner (CVE-2025-62518), and no builder writes any of it.

use std::io::{self, Read};

use super::error::Refusal;
use super::path::InnerPath;
use super::pax::Pax;
use crate::image::limits::{GNU_NAME_BYTES_MAX, PAX_BYTES_MAX};

const BLOCK: usize = 512;
/// The largest size eleven octal digits can say.
const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
    HardLink(InnerPath),
    Fifo,
}

/// One entry; its contents are read from the archive it came from.
#[derive(Debug)]
pub(in crate::image) struct Entry {
    pub(in crate::image) path: InnerPath,
    pub(in crate::image) kind: Kind,
    pub(in crate::image) size: u64,
    pub(in crate::image) mode: u32,
    pub(in crate::image) uid: u32,
    pub(in crate::image) gid: u32,
    /// Seconds and nanoseconds.
    pub(in crate::image) mtime: (i64, u32),
    pub(in crate::image) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why reading stopped.
#[derive(Debug)]
pub(in crate::image) enum ReadError {
    Refused(Refusal),
    Stream(io::Error),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // Limits travel through `Read` inside an I/O error.
        let refusal = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Refusal>())
            .copied();
        refusal.map_or(Self::Stream(error), Self::Refused)
    }
}

/// Reads entry after entry.
pub(in crate::image) struct Archive<R> {
    source: R,
    /// Contents of the current entry not read yet, and the padding after them.
    left: u64,
    padding: u64,
    /// The raw name of the current entry, for messages.
    name: Vec<u8>,
    /// How many entries have begun.
    count: u64,
}

/// Extension records that belong to the entry after them.
#[derive(Default)]
struct Records {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    pub(in crate::image) fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            name: Vec::new(),
            count: 0,
        }
    }

    /// The name and number of the entry that was read last, or failed.
    pub(in crate::image) fn place(&self) -> (&[u8], u64) {
        (&self.name, self.count)
    }

    pub(in crate::image) fn into_source(self) -> R {
        self.source
    }

    /// The next entry; none at the end of the archive, which has then been read to its last byte.
    pub(in crate::image) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        self.skip_contents()?;
        let mut records = Records::default();
        loop {
            let Some(header) = self.header()? else {
                if records.is_empty() {
                    return Ok(None);
                }
                return Err(Refusal::ContradictoryRecords.into());
            };
            self.name = header.name();
            let size = header.size()?;
            match header.type_flag() {
                b'x' => {
                    let pax = Pax::parse(&self.record(size, PAX_BYTES_MAX)?)?;
                    put(&mut records.pax, pax)?;
                }
                b'g' => Pax::parse_global(&self.record(size, PAX_BYTES_MAX)?)?,
                b'L' => {
                    let name = gnu_name(self.record(size, GNU_NAME_BYTES_MAX)?)?;
                    put(&mut records.long_name, name)?;
                }
                b'K' => {
                    let name = gnu_name(self.record(size, GNU_NAME_BYTES_MAX)?)?;
                    put(&mut records.long_link, name)?;
                }
                _ => {
                    self.count += 1;
                    return self.entry(&header, records).map(Some);
                }
            }
        }
    }

    /// Reads from the contents of the current entry.
    pub(in crate::image) fn read_contents(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<usize, ReadError> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.source.read(&mut buffer[..most])? {
            0 => Err(Refusal::Truncated.into()),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }

    fn skip_contents(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 16 * 1024];
        while self.read_contents(&mut buffer)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.read_contents(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads the contents of an extension record.
    fn record(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
        if size > limit {
            return Err(Refusal::RecordTooLong.into());
        }
        self.expect_contents(size);
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.read_contents(&mut buffer)? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        self.skip_contents()?;
        Ok(bytes)
    }

    fn expect_contents(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// The next header; none at the end, after which only zeros may follow.
    fn header(&mut self) -> Result<Option<Header>, ReadError> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Header::checked(block).map(Some).map_err(ReadError::from);
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.source.read(&mut buffer)? {
                0 => return Ok(None),
                count if buffer[..count].iter().all(|byte| *byte == 0) => {}
                _ => return Err(Refusal::TrailingData.into()),
            }
        }
    }

    /// One block; none if the stream ends just before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Refusal::Truncated.into()),
                count => filled += count,
            }
        }
        Ok(Some(block))
    }

    fn entry(&mut self, header: &Header, records: Records) -> Result<Entry, ReadError> {
        let Records {
            pax,
            long_name,
            long_link,
        } = records;
        let pax = pax.unwrap_or_default();
        if (pax.path.is_some() && long_name.is_some())
            || (pax.link.is_some() && long_link.is_some())
        {
            return Err(Refusal::ContradictoryRecords.into());
        }
        let raw = pax.path.or(long_name).unwrap_or_else(|| header.name());
        self.name.clone_from(&raw);
        let link = pax.link.or(long_link).unwrap_or_else(|| header.link());
        let size = agreed_size(header.size()?, pax.size)?;
        let path = InnerPath::parse(&raw)?;
        let kind = kind(header.type_flag(), &raw, &path, link)?;
        if kind != Kind::File && size != 0 {
            return Err(Refusal::UnexpectedContents.into());
        }
        let owner = |in_pax: Option<u64>, at, field| -> Result<u32, Refusal> {
            let id = in_pax.map_or_else(|| header.number(at, field), Ok)?;
            // The last id means "leave as it is" to the kernel.
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or(Refusal::BadOwner)
        };
        let entry = Entry {
            uid: owner(pax.uid, 108..116, "uid")?,
            gid: owner(pax.gid, 116..124, "gid")?,
            mode: u32::try_from(header.number(100..108, "mode")? & 0o7777).expect("twelve bits"),
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => (header.mtime()?, 0),
            },
            xattrs: pax.xattrs,
            path,
            kind,
            size,
        };
        self.expect_contents(size);
        Ok(entry)
    }
}

impl Records {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), Refusal> {
    if slot.replace(value).is_some() {
        return Err(Refusal::ContradictoryRecords);
    }
    Ok(())
}

/// A GNU long name: the name, a zero, and nothing but zeros.
fn gnu_name(mut bytes: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    if bytes[end..].iter().any(|byte| *byte != 0) {
        return Err(Refusal::ZeroInName);
    }
    bytes.truncate(end);
    Ok(bytes)
}

/// The size both places agree on. Writers put what the header cannot say into PAX only.
fn agreed_size(header: u64, pax: Option<u64>) -> Result<u64, Refusal> {
    match pax {
        None => Ok(header),
        Some(pax) if pax == header => Ok(pax),
        Some(pax) if pax > OCTAL_SIZE_MAX && matches!(header, 0 | OCTAL_SIZE_MAX) => Ok(pax),
        Some(_) => Err(Refusal::SizeConflict),
    }
}

fn kind(flag: u8, raw: &[u8], path: &InnerPath, link: Vec<u8>) -> Result<Kind, Refusal> {
    let ends_like_directory = raw.ends_with(b"/") || path.is_root();
    let kind = match flag {
        // Before ustar, a directory was a file with a slash at its end.
        0 if ends_like_directory => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => {
            let target = InnerPath::parse(&link).map_err(|refusal| match refusal {
                Refusal::AbsolutePath | Refusal::ParentPath => Refusal::LinkOutside,
                Refusal::EmptyPath => Refusal::LinkMissing,
                other => other,
            })?;
            Kind::HardLink(target)
        }
        b'2' if link.is_empty() || link.len() > crate::image::limits::PATH_BYTES_MAX => {
            return Err(Refusal::BadSymlink);
        }
        b'2' if link.contains(&0) => return Err(Refusal::ZeroInName),
        b'2' => Kind::Symlink(link),
        b'3' | b'4' => return Err(Refusal::DeviceNode),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(Refusal::Sparse),
        _ => return Err(Refusal::UnknownType),
    };
    if ends_like_directory && kind != Kind::Directory {
        return Err(Refusal::EmptyPath);
    }
    Ok(kind)
}

/// One header block whose checksum is right.
struct Header([u8; BLOCK]);

impl Header {
    fn checked(block: [u8; BLOCK]) -> Result<Self, Refusal> {
        let header = Self(block);
        let said = header
            .number(148..156, "checksum")
            .map_err(|_| Refusal::BadChecksum)?;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u64::from(*byte)
                }
            })
            .sum();
        if said != sum {
            return Err(Refusal::BadChecksum);
        }
        match &block[257..265] {
            b"ustar\x0000" | b"ustar  \0" | [0, ..] => Ok(header),
            _ => Err(Refusal::BadMagic),
        }
    }

    fn type_flag(&self) -> u8 {
        self.0[156]
    }

    fn name(&self) -> Vec<u8> {
        let name = until_zero(&self.0[..100]);
        let prefix = until_zero(&self.0[345..500]);
        // Only ustar has a prefix; GNU keeps times there.
        if &self.0[257..265] == b"ustar\x0000" && !prefix.is_empty() {
            return [prefix, b"/", name].concat();
        }
        name.to_vec()
    }

    fn link(&self) -> Vec<u8> {
        until_zero(&self.0[157..257]).to_vec()
    }

    fn size(&self) -> Result<u64, Refusal> {
        self.number(124..136, "size")
    }

    fn mtime(&self) -> Result<i64, Refusal> {
        let field = &self.0[136..148];
        // A negative base-256 number: a time before 1970.
        if field[0] == 0xff {
            let fold = |value: i64, byte: &u8| (value << 8) | i64::from(*byte);
            if field[1..4].iter().any(|byte| *byte != 0xff) || field[4] < 0x80 {
                return Err(Refusal::BadNumber("mtime"));
            }
            return Ok(field[4..].iter().fold(-1, fold));
        }
        let seconds = self.number(136..148, "mtime")?;
        i64::try_from(seconds).map_err(|_| Refusal::BadNumber("mtime"))
    }

    /// A number in octal digits or, with the top bit set, in base 256.
    fn number(&self, at: std::ops::Range<usize>, name: &'static str) -> Result<u64, Refusal> {
        let field = &self.0[at];
        let bad = Refusal::BadNumber(name);
        if field[0] & 0x80 != 0 {
            if field[0] != 0x80 {
                return Err(bad);
            }
            let fold =
                |value: u64, byte: &u8| value.checked_mul(256)?.checked_add(u64::from(*byte));
            return field[1..].iter().try_fold(0, fold).ok_or(bad);
        }
        let digits = field.trim_ascii_start();
        let end = digits
            .iter()
            .position(|byte| matches!(byte, 0 | b' '))
            .unwrap_or(digits.len());
        let (digits, rest) = digits.split_at(end);
        if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
            return Err(bad);
        }
        let fold = |value: u64, digit: &u8| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        };
        digits.iter().try_fold(0, fold).ok_or(bad)
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    &field[..end]
}

#[cfg(test)]
mod tests;
