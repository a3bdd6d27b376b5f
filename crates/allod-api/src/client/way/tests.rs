//! The owner's own door is taken first, and where it is shut the way of everybody.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

#[tokio::test]
async fn the_own_door_is_taken_where_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("api");
    let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = Way {
        own: Some(door.clone()),
        authority: ("127.0.0.1".into(), public.local_addr().unwrap().port()),
    };
    let mut over_network = way.connect().await.unwrap();
    over_network.write_all(b"public").await.unwrap();
    let mut said = [0; 6];
    let (mut accepted, _) = public.accept().await.unwrap();
    accepted.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"public");

    let own = UnixListener::bind(&door).unwrap();
    let mut inside = way.connect().await.unwrap();
    inside.write_all(b"own").await.unwrap();
    let (mut accepted, _) = own.accept().await.unwrap();
    let mut said = [0; 3];
    accepted.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"own");

    // What a process that is gone has left shuts nobody out.
    drop((own, accepted));
    way.connect().await.unwrap();
    public.accept().await.unwrap();
}

#[tokio::test]
async fn what_is_said_by_one_who_listens_no_more_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("api");
    let own = UnixListener::bind(&door).unwrap();
    let way = Way {
        own: Some(door),
        authority: ("127.0.0.1".into(), 1),
    };
    let mut stream = way.connect().await.unwrap();
    let refuse = async {
        let (mut accepted, _) = own.accept().await.unwrap();
        accepted.read_exact(&mut [0; 1024]).await.unwrap();
        accepted.write_all(b"refused").await.unwrap();
    };
    let much = vec![0; 8 << 20];
    let (said, ()) = tokio::join!(stream.write_all(&much), refuse);
    said.unwrap();
    let mut heard = [0; 7];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"refused");
    let after = stream.read(&mut heard).await;
    assert!(!matches!(after, Ok(1..)), "and then nobody is there");
}
