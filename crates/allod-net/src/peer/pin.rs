//! Relays are trusted by the hash of their certificate, which the roster names: no authority and no domain is asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::{Roster, lock};

/// The certificates that are good, by the relays' addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<BTreeMap<IpAddr, Vec<[u8; 32]>>>>);

/// Believes pinned certificates alone.
#[derive(Debug)]
pub(crate) struct Pinned {
    pins: Pins,
    provider: Arc<CryptoProvider>,
}

impl Pins {
    pub(crate) fn set(&self, roster: &Roster) {
        let mut pins: BTreeMap<IpAddr, Vec<[u8; 32]>> = BTreeMap::new();
        for (address, said) in &roster.relays {
            let known = pins.entry(address.ip()).or_default();
            known.extend(said.iter().map(|relay| relay.pin));
        }
        *lock(&self.0) = pins;
    }

    fn is_good(&self, address: IpAddr, certificate: &[u8]) -> bool {
        let hash = *blake3::hash(certificate).as_bytes();
        lock(&self.0)
            .get(&address)
            .is_some_and(|pins| pins.contains(&hash))
    }
}

impl Pinned {
    pub(crate) const fn new(pins: Pins, provider: Arc<CryptoProvider>) -> Self {
        Self { pins, provider }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ServerName::IpAddress(address) = server_name else {
            return Err(CertificateError::NotValidForName.into());
        };
        if self.pins.is_good(IpAddr::from(*address), end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
