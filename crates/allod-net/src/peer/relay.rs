//! A member's relay: carries encrypted packets for the members of a roster, whose keys it sees proven, and tells them
//! their own addresses. It can read nothing of what it carries.

mod door;

use std::net::SocketAddr;
use std::sync::Arc;

use iroh::EndpointId;
use iroh_relay::server::RelayService;
use iroh_relay::server::{Access, AccessControl, ClientRequest, QuicConfig, Server, ServerConfig};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info};

use self::door::Door;
use super::{PeerKey, Roster, chain};
use crate::limits::RelayLimits;
use crate::tasks::Tasks;

/// Why a relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its certificate cannot be made.
    #[error("making the relay's certificate: {0}")]
    Certificate(String),
    /// Its ports cannot be used.
    #[error("the relay on {listen} cannot start: {reason}; choose other ports")]
    Start {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Why not.
        reason: String,
    },
}

/// A running relay. Dropping it stops it soon; [`MemberRelay::stop`] waits until it has.
#[derive(Debug)]
pub struct MemberRelay {
    /// Where it is reached, and how its certificate is known.
    pub entry: (SocketAddr, super::Relay),
    service: RelayService,
    accepting: JoinSet<()>,
    discovery: Server,
    _cutting: Tasks,
}

/// Lets those on the newest roster in: members, and guests, who may have no other way to a member.
#[derive(Debug)]
struct Listed(watch::Receiver<Arc<Roster>>);

impl AccessControl for Listed {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let peer = PeerKey(*request.endpoint_id().as_bytes());
        if self.0.borrow().standing(&peer).is_some() {
            return Access::Allow;
        }
        debug!(?peer, "the relay turns a stranger away");
        Access::Deny {
            reason: Some("your key is not on the roster here".into()),
        }
    }
}

impl MemberRelay {
    /// Starts a relay on `listen` (HTTPS; port 0 takes any free one) for the members of `roster`, now and as it changes.
    /// `secret` is the machine's own: its relay keeps one certificate for as long as it has that key.
    ///
    /// # Errors
    /// Where a port cannot be used.
    pub async fn start(
        listen: SocketAddr,
        secret: &[u8; 32],
        roster: watch::Receiver<Arc<Roster>>,
        limits: &RelayLimits,
    ) -> Result<Self, RelayError> {
        let (tls, certificate) = certificate(listen, secret)?;
        let refused = |error: &dyn std::error::Error| RelayError::Start {
            listen,
            reason: chain(error),
        };
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| refused(&error))?;
        let https = listener.local_addr().map_err(|error| refused(&error))?;
        let (discovery, discovery_port) = discovery(listen, tls.clone()).await?;
        let before = Arc::clone(&roster.borrow());
        let service = door::service(Arc::new(Listed(roster.clone())));
        let cutting = Tasks::default();
        cutting.start(cut(service.clone(), before, roster));
        let mut accepting = JoinSet::new();
        accepting.spawn(Door::new(service.clone(), tls, limits).open(listener));
        info!(%https, discovery_port, "relay open to members");
        let entry = super::Relay {
            pin: *blake3::hash(&certificate).as_bytes(),
            discovery_port,
        };
        Ok(Self {
            entry: (https, entry),
            service,
            accepting,
            discovery,
            _cutting: cutting,
        })
    }

    /// Stops it, and everything it carries.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
        self.service.shutdown().await;
        if let Err(error) = self.discovery.shutdown().await {
            debug!(error = chain(&error), "the relay ended badly");
        }
    }
}

/// Opens what tells machines their own addresses, and says at which port.
async fn discovery(
    listen: SocketAddr,
    tls: rustls::ServerConfig,
) -> Result<(Server, u16), RelayError> {
    let refused = |reason| RelayError::Start { listen, reason };
    let mut quic = QuicConfig::new(listen);
    quic.server_config = Some(tls);
    let mut config = ServerConfig::default();
    config.quic = Some(quic);
    let server = Server::spawn(config)
        .await
        .map_err(|error| refused(chain(&error)))?;
    let address = server.quic_addr();
    let address = address.ok_or_else(|| refused("it has no address".into()))?;
    Ok((server, address.port()))
}

/// Disconnects those who are no longer listed.
async fn cut(
    service: RelayService,
    mut before: Arc<Roster>,
    mut roster: watch::Receiver<Arc<Roster>>,
) {
    loop {
        let now = Arc::clone(&roster.borrow_and_update());
        let listed = before.members.keys().chain(&before.guests);
        for gone in listed.filter(|peer| now.standing(peer).is_none()) {
            if let Ok(peer) = EndpointId::from_bytes(&gone.0) {
                service.clients().disconnect(peer, None);
            }
        }
        before = now;
        if roster.changed().await.is_err() {
            return;
        }
    }
}

/// A certificate that signs itself, for the relay's address, and its hash.
fn certificate(
    listen: SocketAddr,
    secret: &[u8; 32],
) -> Result<(rustls::ServerConfig, Vec<u8>), RelayError> {
    let said = |error: &dyn std::error::Error| RelayError::Certificate(chain(error));
    let key = relay_key(secret)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(|error| said(&error))?;
    params.subject_alt_names = vec![SanType::IpAddress(listen.ip())];
    // A serial number from the key, so that the certificate is the same after every start.
    params.serial_number = Some(
        key.public_key_raw()
            .get(..16)
            .unwrap_or_default()
            .to_vec()
            .into(),
    );
    let certificate = params.self_signed(&key).map_err(|error| said(&error))?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| said(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .map_err(|error| said(&error))?;
    Ok((config, certificate.der().to_vec()))
}

/// The relay's TLS key: another one than the machine's, derived from it.
fn relay_key(secret: &[u8; 32]) -> Result<KeyPair, RelayError> {
    let seed = blake3::derive_key("allod relay certificate key v1", secret);
    // The frame of an Ed25519 private key in PKCS #8 (RFC 8410, section 7), of which the last 32 bytes are the key.
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend_from_slice(&seed);
    let der = PrivatePkcs8KeyDer::from(der);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
        .map_err(|error| RelayError::Certificate(chain(&error)))
}
