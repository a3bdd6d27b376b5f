//! Strangers at a member's relay: whoever does not say who it is takes no place for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use allod_net::limits::RelayLimits;
use futures_util::{SinkExt, StreamExt};
use iroh::dns::DnsResolver;
use iroh_relay::client::{Client, ClientBuilder};
use iroh_relay::http::ProtocolVersion;
use iroh_relay::protos::relay::{ClientToRelayMsg, RelayToClientMsg};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::machines::{LONG, relay_within};
use crate::stage::{connect_from, status};

/// Believes whatever it is shown.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth()
}

/// A member's connection, as machines make them.
async fn member(relay: SocketAddr, seed: u8) -> Client {
    let url: iroh::RelayUrl = format!("https://{relay}").parse().unwrap();
    let secret = iroh::SecretKey::from_bytes(&[seed; 32]);
    let builder = ClientBuilder::new(url, secret, DnsResolver::new()).tls_client_config(tls());
    let connected = timeout(LONG, Box::pin(builder.connect())).await;
    connected.expect("it is not let in").unwrap()
}

/// Waits until the relay has answered.
async fn is_served(client: &mut Client, question: [u8; 8]) -> bool {
    client.send(ClientToRelayMsg::Ping(question)).await.unwrap();
    while let Some(Ok(message)) = timeout(LONG, client.next()).await.expect("no answer") {
        if matches!(message, RelayToClientMsg::Pong(answer) if answer == question) {
            return true;
        }
    }
    false
}

/// Asks the relay something in HTTP.
async fn asked(relay: SocketAddr, path: &str, lines: &str) -> (u16, TlsStream<TcpStream>) {
    let stream = TcpStream::connect(relay).await.unwrap();
    let connector = TlsConnector::from(Arc::new(tls()));
    let name = ServerName::IpAddress(relay.ip().into());
    let mut stream = connector.connect(name, stream).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n{lines}\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (status(&String::from_utf8(head).unwrap()), stream)
}

/// Somebody who comes as far as a member would, and then does not say who it is.
async fn upgraded(relay: SocketAddr) -> TlsStream<TcpStream> {
    let lines = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {}\r\n",
        ProtocolVersion::V2.to_str()
    );
    let (status, stream) = asked(relay, "/relay", &lines).await;
    assert_eq!(status, 101);
    stream
}

/// Waits until the other side has hung up.
async fn hung_up(mut stream: impl AsyncRead + Unpin) -> bool {
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn it_answers_whoever_measures_how_far_away_it_is() {
    let (relay, _roster) = relay_within(99, &[], &RelayLimits::default()).await;
    let (status, _stream) = asked(relay.entry.0, "/ping", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn whoever_does_not_say_who_it_is_is_hung_up_on_and_members_stay() {
    let limits = RelayLimits {
        proof_time_max: Duration::from_secs(2),
        ..RelayLimits::default()
    };
    let (relay, _roster) = relay_within(100, &[101], &limits).await;
    let address = relay.entry.0;
    let mut client = member(address, 101).await;
    let stranger = upgraded(address).await;
    let silent = TcpStream::connect(address).await.unwrap();
    assert!(hung_up(stranger).await, "after the upgrade");
    assert!(hung_up(silent).await, "before it has said anything");
    // The member came first, so that its time would be over as well.
    assert!(is_served(&mut client, *b"still in").await);
}

#[tokio::test]
async fn strangers_of_one_address_push_out_one_another_and_members_come_in() {
    let limits = RelayLimits {
        unproven_per_source_max: 2,
        proof_time_max: LONG * 2,
        ..RelayLimits::default()
    };
    let members = [103, 104, 105];
    let (relay, _roster) = relay_within(102, &members, &limits).await;
    let address = relay.entry.0;
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(connect_from("127.0.0.2", address).await);
    }
    assert!(hung_up(strangers.remove(0)).await, "for the third");
    let mut clients = Vec::new();
    for seed in members {
        clients.push(member(address, seed).await);
    }
    // Whoever has proven its key takes no place from those who come after it.
    for client in &mut clients {
        assert!(is_served(client, *b"still in").await);
    }
}
