//! The shape of messages, and reading attributes that lie about themselves.

use super::*;

#[test]
fn attributes_come_back_as_they_went() {
    let mut message = Message::request(16, 0)
        .raw(&[0; 16])
        .text(3, "eth0")
        .nest(18, |m| m.attribute(1, b"veth").attribute(2, &[7; 5]));
    let bytes = message.finish(1).to_vec();
    assert_eq!(bytes.len() % 4, 0);
    assert_eq!(read_u32(&bytes, 0) as usize, bytes.len());
    let found = attributes(&bytes[HEADER_BYTES..], 16);
    assert_eq!(found[0], (3, &b"eth0\0"[..]));
    assert_eq!(found[1].0, 18);
    assert_eq!(
        attributes(found[1].1, 0),
        [(1, &b"veth"[..]), (2, &[7; 5][..])]
    );
}

#[test]
fn attributes_with_a_wrong_length_end_the_list() {
    assert_eq!(attributes(&[3, 0, 1, 0, 9, 9, 9, 9], 0), []);
    assert_eq!(attributes(&[200, 0, 1, 0, 9, 9, 9, 9], 0), []);
    assert_eq!(attributes(&[5, 0, 1], 0), []);
    assert_eq!(attributes(&[], 16), []);
    assert_eq!(attributes(&[5, 0, 1, 0, 9], 0), [(1, &[9][..])]);
}

#[test]
fn the_kernels_refusals_are_errors() {
    assert!(answer(&0_i32.to_ne_bytes()).is_ok());
    let refused = answer(&(-libc::EPERM).to_ne_bytes()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    assert!(answer(&[0]).is_err());
}
