//! TLS 1.3 between a depot and who uses it, with a key of the depot's own instead of an authority.
//!
//! A depot lives as long as one migration and has no name that an authority could vouch for. So there is no certificate
//! at all: the depot shows its raw public key (RFC 7250), and who connects was told that very key. Nothing expires, and
//! there is no name or authority that could be mistaken for another.

use std::io;
use std::sync::Arc;

use ::aws_lc_rs::rand::SystemRandom;
use ::aws_lc_rs::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    version,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::data::relay::Wire;

/// A name is part of the protocol. It is not sent, and nobody looks at it.
const NAME: &str = "depot.ferry.invalid";

/// A depot's private key. Its text is PKCS #8 in hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PrivateKey(String);

/// A depot's public key, which is what tells it from all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PublicKey(String);

impl PrivateKey {
    /// A new one.
    pub(super) fn random() -> io::Result<Self> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let key = key.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(Self(hex::encode(key.as_ref())))
    }

    /// What others know it by.
    pub(super) fn public(&self) -> io::Result<PublicKey> {
        let key = self.signing()?.public_key().ok_or_else(unusable)?.to_vec();
        Ok(PublicKey(hex::encode(key)))
    }

    fn signing(&self) -> io::Result<Arc<dyn SigningKey>> {
        let der = hex::decode(&self.0).map_err(|_| unusable())?;
        aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).map_err(|_| unusable())
    }

    /// What answers TLS with it.
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let key = self.signing()?;
        let public = key.public_key().ok_or_else(unusable)?.to_vec();
        let shown = CertifiedKey::new(vec![CertificateDer::from(public)], key);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(
                shown,
            ))));
        // Links live for hours and are few: tickets to resume sessions with would be secrets for nothing.
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl PublicKey {
    /// Speaks TLS over a connection with who has this key, and with nobody else.
    pub(super) async fn connect<W: Wire>(&self, wire: W) -> io::Result<TlsStream<W>> {
        let key = hex::decode(&self.0).map_err(|_| unusable())?;
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { key, algorithms }))
            .with_no_client_auth();
        config.enable_sni = false;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, wire)
            .await
    }

    /// The same over TCP.
    pub(super) async fn dial(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let wire = TcpStream::connect(address).await?;
        wire.set_nodelay(true)?;
        self.connect(wire).await
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn unusable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the depot's key cannot be used")
}

/// Takes one public key for good, and no certificate.
#[derive(Debug)]
struct Pinned {
    key: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match shown.as_ref() == self.key {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // No older TLS is offered.
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &key,
            signature,
            &self.algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
