//! What the other side may say.

use tokio_tungstenite::tungstenite::Message;

use super::{Output, read};

fn binary(bytes: &'static [u8]) -> Message {
    Message::Binary(bytes.into())
}

#[test]
fn channels_are_told_apart() {
    let said = |message| read(message).unwrap();
    assert_eq!(
        said(binary(b"\x01hello")),
        Some(Output::Bytes("hello".into()))
    );
    assert_eq!(
        said(binary(b"\x02oh")),
        Some(Output::ErrorBytes("oh".into()))
    );
    assert_eq!(
        said(Message::text("{\"exit_code\":7}")),
        Some(Output::End(7))
    );
    assert_eq!(said(Message::Ping("x".into())), None);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let strange = [
        binary(b""),
        binary(b"\x09x"),
        Message::text("no JSON"),
        Message::text("{}"),
        Message::Close(None),
    ];
    for message in strange {
        assert!(read(message).is_err());
    }
}
