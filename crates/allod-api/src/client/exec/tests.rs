//! What the other side may say.

use futures_util::SinkExt;
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Exec, Input, Output, Stream, read};

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

#[tokio::test]
async fn what_was_said_is_read_though_the_other_side_has_left() {
    let (here, there) = UnixStream::pair().unwrap();
    let here: Stream = Box::new(here);
    let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    let mut exec = Exec { socket };
    let mut process = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
    process.send(binary(b"\x01hello")).await.unwrap();
    let end = Message::text("{\"exit_code\":7}");
    process.send(end).await.unwrap();
    drop(process);
    for _ in 0..2 {
        exec.send(Input::End).await.unwrap();
    }
    let said = exec.next().await.unwrap();
    assert_eq!(said, Output::Bytes("hello".into()));
    assert_eq!(exec.next().await.unwrap(), Output::End(7));
}
