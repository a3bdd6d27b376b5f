//! Frames arrive as they were sent, whole or not at all.

use std::io::Read;

use super::*;

#[test]
fn a_frame_arrives_with_its_descriptor() {
    let (near, far) = UnixStream::pair().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    send(&near, &vec!["text".repeat(10)], &[reader.as_fd()]).unwrap();
    let frame = receive(&far).unwrap();
    assert_eq!(
        frame.parse::<Vec<String>>().unwrap(),
        vec!["text".repeat(10)]
    );
    assert_eq!(frame.fds.len(), 1);
    writer.write_all(b"through").unwrap();
    drop(writer);
    let mut text = String::new();
    let passed = frame.fds.into_iter().next().unwrap();
    std::fs::File::from(passed)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "through");
}

#[test]
fn a_frame_in_pieces_arrives_whole() {
    let (mut near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let bytes = encode(&"pieces").unwrap();
    let mut reader = FrameReader::default();
    let (last, first) = bytes.split_last().unwrap();
    for byte in first {
        near.write_all(&[*byte]).unwrap();
        assert!(reader.advance(&far).unwrap().is_none());
    }
    let waiting = reader.advance(&far).err().unwrap();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
    near.write_all(&[*last]).unwrap();
    let frame = reader.advance(&far).unwrap().unwrap();
    assert_eq!(frame.parse::<String>().unwrap(), "pieces");
}

#[test]
fn foreign_and_oversized_frames_are_refused() {
    for bytes in [
        b"HTTP/1.1".to_vec(),
        [&MAGIC[..], &u32::MAX.to_le_bytes()].concat(),
    ] {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&bytes).unwrap();
        assert_eq!(
            receive(&far).err().unwrap().kind(),
            io::ErrorKind::InvalidData
        );
    }
}

#[test]
fn a_closed_connection_is_an_error_and_not_an_empty_frame() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(near);
    assert_eq!(
        receive(&far).err().unwrap().kind(),
        io::ErrorKind::UnexpectedEof
    );
}
