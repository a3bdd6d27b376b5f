//! Published ports lead to ready replicas, are free when withdrawn, and say when they are not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use allod_net::limits::PortLimits;
use allod_net::published::{Lent, Port, PortError};
use allod_net::{Backend, Ports, Protocol, Published};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::stage::{PATIENCE, Replica, key, nobody, until};

fn free() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn published(protocol: Protocol, listen: SocketAddr, backends: Vec<Backend>) -> Published {
    Published {
        port: Port {
            protocol,
            listen,
            key: key(),
            inside: 80,
        },
        backends,
    }
}

async fn opened(ports: &mut Ports, wanted: &[Published]) -> SocketAddr {
    ports.apply(wanted).await[0].state.clone().unwrap()
}

/// Says its name, then repeats in capitals what it is sent, then says goodbye after the end.
async fn polite(name: &'static str) -> Replica {
    Replica::raw(move |mut stream| async move {
        let _ = stream.write_all(name.as_bytes()).await;
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        let _ = stream
            .write_all(format!(" {} bye", said.to_uppercase()).as_bytes())
            .await;
    })
    .await
}

async fn talk(address: SocketAddr) -> io::Result<String> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"hello").await?;
    client.shutdown().await?;
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer))
        .await
        .expect("the port hangs")?;
    Ok(answer)
}

#[tokio::test]
async fn a_port_leads_to_its_service_and_a_half_close_goes_through() {
    let replica = polite("one").await;
    let mut ports = Ports::new(PortLimits::default());
    let wanted = published(Protocol::Tcp, free(), vec![replica.ready("db-0")]);
    let address = opened(&mut ports, std::slice::from_ref(&wanted)).await;
    assert_eq!(talk(address).await.unwrap(), "one HELLO bye");
    until("the bytes are counted", || {
        let counts = ports.counts()[&wanted.port];
        (counts.connections, counts.bytes_in, counts.bytes_out) == (1, 5, 13)
    })
    .await;
    assert!(ports.drained(&wanted.backends[0].id, PATIENCE).await);
}

#[tokio::test]
async fn replicas_change_while_the_port_stays_open() {
    let (one, two) = (polite("one").await, polite("two").await);
    let mut ports = Ports::new(PortLimits::default());
    let mut wanted = [published(Protocol::Tcp, free(), vec![one.ready("db-0")])];
    let address = opened(&mut ports, &wanted).await;
    let mut early = TcpStream::connect(address).await.unwrap();
    let mut name = [0; 3];
    early.read_exact(&mut name).await.unwrap();
    wanted[0].backends = vec![two.ready("db-1")];
    assert_eq!(opened(&mut ports, &wanted).await, address);
    assert_eq!(talk(address).await.unwrap(), "two HELLO bye");
    early.shutdown().await.unwrap();
    let mut rest = String::new();
    early.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "  bye", "the connection to the old replica went on");
}

#[tokio::test]
async fn an_unreachable_replica_is_passed_over_and_a_late_one_waited_for() {
    let alive = polite("one").await;
    let mut ports = Ports::new(PortLimits {
        ready_hold: PATIENCE,
        ..Default::default()
    });
    let mut wanted = [published(
        Protocol::Tcp,
        free(),
        vec![Backend::ready(nobody(), "db-0"), alive.ready("db-1")],
    )];
    let address = opened(&mut ports, &wanted).await;
    for _ in 0..4 {
        assert_eq!(talk(address).await.unwrap(), "one HELLO bye");
    }
    wanted[0].backends.clear();
    opened(&mut ports, &wanted).await;
    let waiting = talk(address);
    tokio::pin!(waiting);
    assert!(
        timeout(Duration::from_millis(100), &mut waiting)
            .await
            .is_err(),
        "it waits"
    );
    wanted[0].backends = vec![alive.ready("db-1")];
    opened(&mut ports, &wanted).await;
    assert_eq!(waiting.await.unwrap(), "one HELLO bye");
}

#[tokio::test]
async fn where_the_only_replica_was_left_its_successor_is_waited_for() {
    let successor = polite("two").await;
    let mut ports = Ports::new(PortLimits {
        ready_hold: PATIENCE,
        ..Default::default()
    });
    let gone = Backend::ready(nobody(), "db-0");
    let mut wanted = [published(Protocol::Tcp, free(), vec![gone.clone()])];
    let address = opened(&mut ports, &wanted).await;
    let waiting = talk(address);
    tokio::pin!(waiting);
    assert!(
        timeout(Duration::from_millis(100), &mut waiting)
            .await
            .is_err(),
        "it waits"
    );
    wanted[0].backends = vec![gone, successor.ready("db-0")];
    opened(&mut ports, &wanted).await;
    assert_eq!(waiting.await.unwrap(), "two HELLO bye");
}

#[tokio::test]
async fn without_a_replica_the_connection_is_closed_and_counted() {
    let limits = PortLimits {
        ready_hold: Duration::from_millis(50),
        ..Default::default()
    };
    let mut ports = Ports::new(limits);
    let wanted = published(
        Protocol::Tcp,
        free(),
        vec![Backend::not_ready(nobody(), "db-0")],
    );
    let address = opened(&mut ports, std::slice::from_ref(&wanted)).await;
    assert_eq!(talk(address).await.unwrap_or_default(), "");
    until("it is counted", || {
        ports.counts()[&wanted.port].refused == 1
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_named_and_tried_again() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = other.local_addr().unwrap();
    let replica = polite("one").await;
    let wanted = [published(
        Protocol::Tcp,
        listen,
        vec![replica.ready("db-0")],
    )];
    let mut ports = Ports::new(PortLimits::default());
    let state = ports.apply(&wanted).await[0].state.clone();
    assert_eq!(
        state,
        Err(PortError::Taken {
            port: wanted[0].port.clone()
        })
    );
    let said = state.unwrap_err().to_string();
    assert!(
        said.starts_with(&format!("tcp port {listen} is taken by another program")),
        "{said}"
    );
    drop(other);
    assert_eq!(opened(&mut ports, &wanted).await, listen);
    assert_eq!(talk(listen).await.unwrap(), "one HELLO bye");
}

#[tokio::test]
async fn a_withdrawn_port_is_free_at_once_and_may_change_hands() {
    let (one, two) = (polite("one").await, polite("two").await);
    let mut ports = Ports::new(PortLimits::default());
    let first = [published(Protocol::Tcp, free(), vec![one.ready("db-0")])];
    let listen = opened(&mut ports, &first).await;
    let mut mine = published(Protocol::Tcp, listen, vec![two.ready("web-0")]);
    mine.port.key.service = "other".into();
    assert_eq!(
        opened(&mut ports, std::slice::from_ref(&mine)).await,
        listen
    );
    assert_eq!(talk(listen).await.unwrap(), "two HELLO bye");
    let theirs = published(Protocol::Tcp, listen, vec![one.ready("db-0")]);
    let both = ports.apply(&[theirs, mine]).await;
    assert!(both[1].state.is_ok(), "who has a port keeps it");
    let refused = both[0].state.clone().unwrap_err().to_string();
    assert!(
        refused.contains("already published by shop/other"),
        "{refused}"
    );
    assert!(ports.apply(&[]).await.is_empty());
    drop(std::net::TcpListener::bind(listen).expect("the port is free"));
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let limits = PortLimits {
        stream_idle: Duration::from_millis(100),
        ..Default::default()
    };
    let mut ports = Ports::new(limits);
    let replica = polite("one").await;
    let wanted = [published(
        Protocol::Tcp,
        free(),
        vec![replica.ready("db-0")],
    )];
    let address = opened(&mut ports, &wanted).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut said))
        .await
        .expect("it is closed")
        .unwrap_or(0);
    assert_eq!(said, b"one");
}

#[tokio::test]
async fn a_lent_listener_is_used_for_its_address() {
    let lent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = lent.local_addr().unwrap();
    let mut ports = Ports::new(PortLimits::default());
    ports.lend(Lent::Tcp(lent)).unwrap();
    let replica = polite("one").await;
    let wanted = [published(
        Protocol::Tcp,
        listen,
        vec![replica.ready("db-0")],
    )];
    assert_eq!(opened(&mut ports, &wanted).await, listen);
    assert_eq!(talk(listen).await.unwrap(), "one HELLO bye");
}

/// A UDP replica that answers each datagram with its name and the datagram.
fn parrot(name: &'static str, tasks: &mut tokio::task::JoinSet<()>) -> Backend {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let backend = Backend::ready(socket.local_addr().unwrap(), name);
    let socket = UdpSocket::from_std(socket).unwrap();
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    backend
}

async fn exchange(client: &UdpSocket, said: &str) -> String {
    let mut buffer = [0; 2048];
    client.send(said.as_bytes()).await.unwrap();
    let length = timeout(PATIENCE, client.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test]
async fn datagrams_pass_both_ways_and_follow_the_ready_replica() {
    let mut tasks = tokio::task::JoinSet::new();
    let (one, two) = (parrot("one", &mut tasks), parrot("two", &mut tasks));
    let mut ports = Ports::new(PortLimits::default());
    let mut wanted = [published(Protocol::Udp, free(), vec![one.clone()])];
    let address = opened(&mut ports, &wanted).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    assert_eq!(exchange(&client, "a").await, "one a");
    assert_eq!(exchange(&client, "b").await, "one b");
    assert_eq!(
        ports.counts()[&wanted[0].port].connections,
        1,
        "one session"
    );
    wanted[0].backends = vec![two];
    opened(&mut ports, &wanted).await;
    assert!(ports.drained(&one.id, PATIENCE).await);
    assert_eq!(exchange(&client, "c").await, "two c");
    assert!(ports.apply(&[]).await.is_empty());
    drop(std::net::UdpSocket::bind(address).expect("the port is free"));
}

#[tokio::test]
async fn silent_udp_clients_are_forgotten_and_their_number_is_bounded() {
    let mut tasks = tokio::task::JoinSet::new();
    let backend = parrot("one", &mut tasks);
    let limits = PortLimits {
        sessions_max: 1,
        session_idle: Duration::from_secs(3),
        ..Default::default()
    };
    let mut ports = Ports::new(limits);
    let wanted = [published(Protocol::Udp, free(), vec![backend.clone()])];
    let address = opened(&mut ports, &wanted).await;
    let (first, second) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    first.connect(address).await.unwrap();
    second.connect(address).await.unwrap();
    assert_eq!(exchange(&first, "a").await, "one a");
    second.send(b"x").await.unwrap();
    let mut buffer = [0; 16];
    assert!(
        timeout(Duration::from_millis(50), second.recv(&mut buffer))
            .await
            .is_err()
    );
    assert!(
        ports.drained(&backend.id, PATIENCE).await,
        "the first is forgotten"
    );
    assert_eq!(exchange(&second, "b").await, "one b");
}
