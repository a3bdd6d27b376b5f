//! Writes archives byte by byte, so that the dishonest ones can be written too.

/// An archive in the making.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// One header, with every field open to lies.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    pub(crate) fn new(name: &str, flag: u8, size: u64) -> Self {
        let mut header = Self([0; 512]);
        header.bytes(0, name.as_bytes());
        header.octal(100, 8, if flag == b'5' { 0o755 } else { 0o644 });
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(124, 12, size);
        header.octal(136, 12, 1_700_000_000);
        header.0[156] = flag;
        header.bytes(257, b"ustar\x0000");
        header
    }

    pub(crate) fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn octal(&mut self, at: usize, width: usize, value: u64) -> &mut Self {
        let text = format!("{value:0digits$o}\0", digits = width - 1);
        self.bytes(at, text.as_bytes())
    }

    pub(crate) fn link(&mut self, target: &str) -> &mut Self {
        self.bytes(157, target.as_bytes())
    }

    pub(crate) fn mode(&mut self, mode: u64) -> &mut Self {
        self.octal(100, 8, mode)
    }

    pub(crate) fn owner(&mut self, uid: u64, gid: u64) -> &mut Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    pub(crate) fn mtime(&mut self, seconds: u64) -> &mut Self {
        self.octal(136, 12, seconds)
    }

    fn sealed(&self) -> [u8; 512] {
        let mut block = self.0;
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

impl Tar {
    pub(crate) fn entry(mut self, header: &Header, contents: &[u8]) -> Self {
        self.0.extend_from_slice(&header.sealed());
        self.contents(contents)
    }

    /// Contents and padding, with no header of their own.
    pub(crate) fn contents(mut self, contents: &[u8]) -> Self {
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn file(self, name: &str, contents: &[u8]) -> Self {
        self.entry(&Header::new(name, b'0', contents.len() as u64), contents)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(&Header::new(name, b'5', 0), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Header::new(name, b'2', 0).link(target), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(Header::new(name, b'1', 0).link(target), b"")
    }

    pub(crate) fn of_type(self, name: &str, flag: u8) -> Self {
        self.entry(&Header::new(name, flag, 0), b"")
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.pax_of_type(b'x', records)
    }

    pub(crate) fn pax_of_type(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let text: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.entry(&Header::new("PaxHeaders/x", flag, text.len() as u64), &text)
    }

    /// A GNU long name (`L`) or long link (`K`) for the next entry.
    pub(crate) fn gnu(self, flag: u8, name: &str) -> Self {
        let contents = [name.as_bytes(), b"\0"].concat();
        let mut header = Header::new("././@LongLink", flag, contents.len() as u64);
        header.bytes(257, b"ustar  \0");
        self.entry(&header, &contents)
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// `<length> key=value\n`, where the length counts itself.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}
