//! The resolver on real sockets: datagrams, connections, the world behind it, and its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use allod_net::limits::ResolverLimits;
use allod_net::{Names, Resolver};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::stage::{PATIENCE, nobody};

const DB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

struct Desk {
    resolver: Resolver,
    names: watch::Sender<Arc<Names>>,
    udp: SocketAddr,
    tcp: SocketAddr,
}

fn names(upstreams: Vec<SocketAddr>) -> Names {
    let mut names = Names::new(upstreams);
    names.insert("shop", "db", vec![DB]);
    names
}

fn desk(upstreams: Vec<SocketAddr>, limits: ResolverLimits) -> Desk {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let (names, receiver) = watch::channel(Arc::new(names(upstreams)));
    let mut resolver = Resolver::new(receiver, limits);
    resolver.open("shop", udp, tcp).unwrap();
    Desk {
        resolver,
        names,
        udp: udp_at,
        tcp: tcp_at,
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4242, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn by_udp(address: SocketAddr, packet: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(packet, address).await.unwrap();
    let mut buffer = [0; 4096];
    let received = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .expect("no answer")
        .unwrap();
    Message::from_vec(&buffer[..received]).unwrap()
}

async fn framed(stream: &mut TcpStream, packet: &[u8]) -> Message {
    let length = u16::try_from(packet.len()).unwrap();
    stream
        .write_all(&[&length.to_be_bytes(), packet].concat())
        .await
        .unwrap();
    let length = timeout(PATIENCE, stream.read_u16())
        .await
        .expect("no answer")
        .unwrap();
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn first_address(message: &Message) -> Option<Ipv4Addr> {
    match message.answers.first().map(|record| &record.data) {
        Some(RData::A(A(address))) => Some(*address),
        _ => None,
    }
}

/// The world: says 192.0.2.1 to A, and to TXT a text that fits no datagram. Before each true
/// answer it sends two forged ones.
async fn world(tasks: &mut JoinSet<()>) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tasks.spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let mut answer = answered(&buffer[..length]);
            let mut forged = answer.clone();
            forged.metadata.id = forged.metadata.id.wrapping_add(1);
            let _ = udp.send_to(&forged.to_vec().unwrap(), from).await;
            forged.metadata.id = answer.metadata.id;
            forged.queries[0].name = Name::from_str("forged.org.").unwrap();
            let _ = udp.send_to(&forged.to_vec().unwrap(), from).await;
            if answer.to_vec().unwrap().len() > 512 {
                answer = answer.truncate();
            }
            let _ = udp.send_to(&answer.to_vec().unwrap(), from).await;
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut asked = vec![0; usize::from(length)];
            stream.read_exact(&mut asked).await.unwrap();
            let answer = answered(&asked).to_vec().unwrap();
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn answered(packet: &[u8]) -> Message {
    let asked = Message::from_vec(packet).unwrap();
    let query = asked.queries[0].clone();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    let data = match query.query_type {
        RecordType::TXT => RData::TXT(TXT::new(vec!["x".repeat(250); 4])),
        _ => RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
    };
    answer.add_answer(Record::from_rdata(query.name.clone(), 60, data));
    answer.add_query(query);
    answer
}

#[tokio::test]
async fn services_are_found_by_datagram_and_by_connection() {
    let desk = desk(vec![], ResolverLimits::default());
    for name in ["db.", "DB.shop.", "db.shop.internal."] {
        let said = by_udp(desk.udp, &question(name, RecordType::A)).await;
        assert_eq!(first_address(&said), Some(DB), "{name}");
        assert_eq!(said.metadata.id, 4242);
    }
    let mut stream = TcpStream::connect(desk.tcp).await.unwrap();
    for _ in 0..3 {
        let said = framed(&mut stream, &question("db.", RecordType::A)).await;
        assert_eq!(first_address(&said), Some(DB));
    }
    let said = by_udp(desk.udp, &question("db.", RecordType::AAAA)).await;
    assert_eq!(
        (said.metadata.response_code, said.answers.len()),
        (ResponseCode::NoError, 0)
    );
    let said = by_udp(desk.udp, &question("dbb.", RecordType::A)).await;
    assert_eq!(said.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_new_table_counts_at_once_and_a_closed_app_is_silent() {
    let mut desk = desk(vec![], ResolverLimits::default());
    let moved = Ipv4Addr::new(10, 9, 0, 77);
    let mut table = Names::new(vec![]);
    table.insert("shop", "db", vec![moved]);
    desk.names.send_replace(Arc::new(table));
    let said = by_udp(desk.udp, &question("db.", RecordType::A)).await;
    assert_eq!(first_address(&said), Some(moved));
    assert_eq!(desk.resolver.apps().collect::<Vec<_>>(), ["shop"]);
    desk.resolver.close("shop").await;
    assert!(TcpStream::connect(desk.tcp).await.is_err());
    drop(std::net::UdpSocket::bind(desk.udp).expect("its socket is closed"));
}

#[tokio::test]
async fn the_world_is_asked_and_forgeries_are_not_believed() {
    let mut tasks = JoinSet::new();
    let upstream = world(&mut tasks).await;
    let desk = desk(vec![upstream], ResolverLimits::default());
    let said = by_udp(desk.udp, &question("example.org.", RecordType::A)).await;
    assert_eq!(first_address(&said), Some(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(said.metadata.id, 4242);
    assert_eq!(said.queries[0].name.to_ascii(), "example.org.");
}

#[tokio::test]
async fn a_long_answer_is_cut_in_a_datagram_and_whole_on_a_connection() {
    let mut tasks = JoinSet::new();
    let upstream = world(&mut tasks).await;
    let desk = desk(vec![upstream], ResolverLimits::default());
    let packet = question("example.org.", RecordType::TXT);
    let cut = by_udp(desk.udp, &packet).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let mut stream = TcpStream::connect(desk.tcp).await.unwrap();
    let whole = framed(&mut stream, &packet).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 1);
}

#[tokio::test]
async fn a_dead_resolver_is_passed_over_and_none_at_all_is_said() {
    let mut tasks = JoinSet::new();
    let upstream = world(&mut tasks).await;
    let limits = ResolverLimits {
        upstream_timeout: Duration::from_secs(2),
        ..Default::default()
    };
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = vec![nobody(), silent.local_addr().unwrap()];
    let all = [dead.clone(), vec![upstream]].concat();
    let packet = question("example.org.", RecordType::A);
    let said = by_udp(desk(all, limits.clone()).udp, &packet).await;
    assert!(first_address(&said).is_some());
    let said = by_udp(desk(dead, limits).udp, &packet).await;
    assert_eq!(said.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn one_client_may_not_flood_the_world_and_services_still_answer() {
    let mut tasks = JoinSet::new();
    let upstream = world(&mut tasks).await;
    let limits = ResolverLimits {
        forwards_per_second: 1,
        forwards_burst: 2,
        ..Default::default()
    };
    let desk = desk(vec![upstream], limits);
    let packet = question("example.org.", RecordType::A);
    let mut codes = Vec::new();
    // Faster than one a second, also on a busy machine.
    for _ in 0..20 {
        codes.push(by_udp(desk.udp, &packet).await.metadata.response_code);
    }
    assert_eq!(codes[..2], [ResponseCode::NoError; 2]);
    assert!(codes.contains(&ResponseCode::Refused), "{codes:?}");
    let said = by_udp(desk.udp, &question("db.", RecordType::A)).await;
    assert_eq!(first_address(&said), Some(DB));
}

#[tokio::test]
async fn garbage_and_silence_hurt_nobody() {
    let limits = ResolverLimits {
        connection_idle: Duration::from_millis(100),
        ..Default::default()
    };
    let desk = desk(vec![], limits);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..200_u8 {
        let garbage: Vec<u8> = (0..length)
            .map(|byte| byte.wrapping_mul(37) ^ length)
            .collect();
        socket.send_to(&garbage, desk.udp).await.unwrap();
    }
    let mut half = TcpStream::connect(desk.tcp).await.unwrap();
    half.write_all(&[0, 50, 1, 2]).await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, half.read_to_end(&mut rest))
        .await
        .expect("it is closed")
        .unwrap();
    assert!(rest.is_empty());
    let said = by_udp(desk.udp, &question("db.", RecordType::A)).await;
    assert_eq!(first_address(&said), Some(DB));
}
