//! Logs keep order and bounds, and a reader follows them across rotation.

use super::*;

fn writer(directory: &Path, file_bytes_max: u64, files: u32) -> Writer {
    Writer::open(
        directory,
        LogLimits {
            file_bytes_max,
            files,
        },
        0,
    )
    .unwrap()
}

#[test]
fn lines_are_told_apart_and_joined_over_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 1 << 20, 2);
    writer.put(Stream::Stdout, b"one\ntw", 5).unwrap();
    writer.put(Stream::Stderr, b"bad\n", 6).unwrap();
    writer.put(Stream::Stdout, b"o\nprompt> ", 7).unwrap();
    assert!(writer.has_unfinished());
    writer.flush(8).unwrap();
    let (lines, _) = read(dir.path(), Cursor::default(), 1 << 20).unwrap();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.at_ms,
                line.stream,
                line.is_partial,
                line.text.as_slice(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (5, Stream::Stdout, false, &b"one"[..]),
            (6, Stream::Stderr, false, b"bad"),
            (7, Stream::Stdout, false, b"two"),
            (8, Stream::Stdout, true, b"prompt> "),
        ]
    );
}

#[test]
fn files_stay_within_their_limits_and_a_slow_reader_skips_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 200, 3);
    writer.put(Stream::Stdout, b"first\n", 0).unwrap();
    let (_, early) = read(dir.path(), Cursor::default(), 1 << 20).unwrap();
    for number in 0..100 {
        writer
            .put(
                Stream::Stdout,
                format!("line {number}\n").as_bytes(),
                number,
            )
            .unwrap();
    }
    let numbers = file_numbers(dir.path()).unwrap();
    assert_eq!(numbers.len(), 3);
    for number in numbers {
        assert!(path(dir.path(), number).metadata().unwrap().len() <= 200);
    }
    let (lines, end) = read(dir.path(), early, 1 << 20).unwrap();
    assert_eq!(lines.last().unwrap().text, b"line 99");
    assert!(lines.len() < 60);
    assert!(read(dir.path(), end, 1 << 20).unwrap().0.is_empty());
}

#[test]
fn long_lines_are_cut_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 1 << 20, 2);
    let long = vec![b'x'; limits::LOG_LINE_BYTES_MAX + 10];
    writer.put(Stream::Stdout, &long, 1).unwrap();
    writer.put(Stream::Stdout, b"\n", 2).unwrap();
    let (lines, _) = read(dir.path(), Cursor::default(), 1 << 20).unwrap();
    let shape: Vec<_> = lines
        .iter()
        .map(|line| (line.is_partial, line.text.len()))
        .collect();
    assert_eq!(shape, [(true, limits::LOG_LINE_BYTES_MAX), (false, 10)]);
}

#[test]
fn the_tail_reaches_back_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 100, 5);
    for number in 0..20 {
        writer
            .put(
                Stream::Stdout,
                format!("line {number}\n").as_bytes(),
                number,
            )
            .unwrap();
    }
    let start = tail(dir.path(), 12).unwrap();
    let (lines, _) = read(dir.path(), start, 1 << 20).unwrap();
    assert_eq!(lines.len(), 12);
    assert_eq!(lines[0].text, b"line 8");
    assert_eq!(
        tail(dir.path(), 1_000).unwrap(),
        Cursor { file: 1, offset: 0 }
    );
}

/// CVE-2026-53489: a log file that is a link shows what only its reader may read.
#[test]
fn a_link_among_the_logs_is_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "1 o of the host\n").unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let link = path(&logs, 1);
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    // A reader that trusts the name shows it.
    assert!(
        std::fs::read_to_string(&link)
            .unwrap()
            .contains("of the host")
    );
    assert!(read(&logs, Cursor::default(), 1 << 20).is_err());
    assert!(tail(&logs, 10).is_err());

    std::fs::remove_file(&link).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &link,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    // One that opens it to read would wait for a writer.
    assert!(read(&logs, Cursor::default(), 1 << 20).is_err());

    // Nor does a writer go on there.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    assert!(Writer::open(&logs, LogLimits::default(), 0).is_err());
    std::fs::remove_file(&link).unwrap();
    let mut writer = Writer::open(&logs, LogLimits::default(), 0).unwrap();
    writer.put(Stream::Stdout, b"line\n", 1).unwrap();
    assert_eq!(
        std::fs::read_to_string(&secret).unwrap(),
        "1 o of the host\n"
    );
}
