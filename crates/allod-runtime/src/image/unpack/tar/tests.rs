//! No bytes make the reader panic, loop, or hand out more than it was given.

use super::*;

/// A small generator: the same numbers on every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

fn header(name: &str, flag: u8, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn sample() -> Vec<u8> {
    let mut archive = Vec::new();
    let mut put = |name, flag, contents: &[u8]| {
        archive.extend_from_slice(&header(name, flag, contents.len()));
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    };
    put(
        "x",
        b'x',
        b"12 path=abc\n20 mtime=-12.000001\n25 SCHILY.xattr.user.a=b\n",
    );
    put("file", b'0', &[7; 700]);
    put("L", b'L', b"a/long/name\0");
    put("K", b'K', b"target\0");
    put("link", b'2', b"");
    put("g", b'g', b"13 comment=x\n");
    put("dir/", b'5', b"");
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// Reads everything there is; gives the bytes of contents that were handed out.
fn drain(bytes: &[u8]) -> Result<(Vec<Entry>, usize), ReadError> {
    let mut archive = Archive::new(bytes);
    let (mut entries, mut total) = (Vec::new(), 0);
    let mut buffer = [0; 333];
    while let Some(entry) = archive.next()? {
        loop {
            match archive.read_contents(&mut buffer)? {
                0 => break,
                count => total += count,
            }
        }
        entries.push(entry);
    }
    Ok((entries, total))
}

#[test]
fn the_sample_is_read_as_written() {
    let (entries, total) = drain(&sample()).unwrap();
    assert_eq!(total, 700);
    let names: Vec<_> = entries.iter().map(|entry| entry.path.as_bytes()).collect();
    assert_eq!(names, [&b"abc"[..], b"a/long/name", b"dir"]);
    assert_eq!(entries[0].mtime, (-13, 999_999_000));
    assert_eq!(entries[0].xattrs, [(b"user.a".to_vec(), b"b".to_vec())]);
    assert_eq!(entries[1].kind, Kind::Symlink(b"target".to_vec()));
}

#[test]
fn no_bytes_upset_the_reader() {
    let (sample, mut noise) = (sample(), Noise(0x0a11_0d00_5eed));
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = sample.clone();
        for _ in 0..=noise.next(4) {
            let at = noise.next(bytes.len());
            bytes[at] = match noise.next(3) {
                0 => 0,
                1 => 0xff,
                _ => u8::try_from(noise.next(256)).unwrap(),
            };
        }
        // A header with a wrong checksum is not looked at: make the damage count.
        for block in bytes.chunks_exact_mut(BLOCK) {
            if block[257..262] == *b"ustar" {
                seal(block);
            }
        }
        bytes.truncate(bytes.len() - noise.next(3) * noise.next(BLOCK));
        if let Ok((_, total)) = drain(&bytes) {
            assert!(total <= bytes.len());
            accepted += 1;
        }
    }
    assert!(
        accepted > 1000,
        "the damage is so heavy that nothing is tested: {accepted}"
    );
}

#[test]
fn times_before_1970_are_read_in_base_256() {
    let mut block = header("f", b'0', 0);
    block[136..148].copy_from_slice(&[0xff; 12]);
    seal(&mut block);
    let (entries, _) = drain(&block).unwrap();
    assert_eq!(entries[0].mtime, (-1, 0));
}
