//! One connection between a mover and the CLI, after both have shown that they know the token.
//!
//! ```text
//! CLI ─ magic, nonce ─▶ mover      mover ─ magic, nonce, proof ─▶ CLI      CLI ─ proof ─▶ mover
//! ```
//!
//! Who connects stands where the CLI stands here, who listens where the mover does; who asks is settled
//! elsewhere: a depot listens and is asked.
//!
//! Each direction then has its own key, made of the token and both nonces: frames can be neither
//! replayed from another link nor sent back to who wrote them.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::frame::{self, Frame, HEAD, Kind, TAG};

const MAGIC: &[u8; 16] = b"ferry-relay/1\n\0\0";
const NONCE: usize = 32;

/// Longest silence within an exchange. One frame is 1 MiB at most; a path that needs longer for
/// it is not usable anyway.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// A random secret shared by the CLI and the movers of one run.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Panics
    /// When the system has no random numbers to give; there is no safe way to go on.
    pub(crate) fn random() -> Self {
        Self(hex::encode(random::<32>()))
    }

    fn key(&self) -> [u8; 32] {
        blake3::derive_key("ferry relay 2026-11-21 token", self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Why a link can no longer be used. A new one can be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    /// Nothing came for too long.
    #[error("nothing came for {} s", STALL.as_secs())]
    Stalled,
    /// What came is not what the other side would have sent.
    #[error("{0}")]
    Garbled(&'static str),
    /// The other side does not know the token.
    #[error("the other side is not of this run")]
    Stranger,
}

/// Anything bytes can travel over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A link that is ready for use.
pub(crate) struct Link {
    wire: Box<dyn Wire>,
    send_key: [u8; 32],
    receive_key: [u8; 32],
    sent: u64,
    received: u64,
    /// Reused for every frame written, and for every frame read.
    out: Vec<u8>,
    incoming: Vec<u8>,
    /// Free again when the link is gone, for who opens a new one in its place.
    slot: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("sent", &self.sent)
            .field("received", &self.received)
            .finish()
    }
}

impl Link {
    /// Opens a link as the CLI, over a connection to the mover's port.
    pub(crate) async fn connect(
        wire: impl Wire + 'static,
        token: &Token,
    ) -> Result<Self, LinkError> {
        let handshake = async {
            let mut wire: Box<dyn Wire> = Box::new(wire);
            let mine: [u8; NONCE] = random();
            wire.write_all(MAGIC).await?;
            wire.write_all(&mine).await?;
            wire.flush().await?;
            let theirs = greeting(&mut wire).await?;
            let keys = Keys::new(token, &mine, &theirs);
            expect(&mut wire, keys.mover_proof).await?;
            wire.write_all(&keys.cli_proof).await?;
            wire.flush().await?;
            Ok(Self::new(wire, keys.to_mover, keys.to_cli))
        };
        timeout(STALL, handshake)
            .await
            .map_err(|_| LinkError::Stalled)?
    }

    /// Opens a link as the mover, over a connection that came in.
    pub(crate) async fn accept(
        wire: impl Wire + 'static,
        token: &Token,
    ) -> Result<Self, LinkError> {
        let handshake = async {
            let mut wire: Box<dyn Wire> = Box::new(wire);
            let theirs = greeting(&mut wire).await?;
            let mine: [u8; NONCE] = random();
            let keys = Keys::new(token, &theirs, &mine);
            wire.write_all(MAGIC).await?;
            wire.write_all(&mine).await?;
            wire.write_all(&keys.mover_proof).await?;
            wire.flush().await?;
            expect(&mut wire, keys.cli_proof).await?;
            Ok(Self::new(wire, keys.to_cli, keys.to_mover))
        };
        timeout(STALL, handshake)
            .await
            .map_err(|_| LinkError::Stalled)?
    }

    fn new(wire: Box<dyn Wire>, send_key: [u8; 32], receive_key: [u8; 32]) -> Self {
        let (out, incoming) = (Vec::new(), Vec::new());
        Self {
            wire,
            send_key,
            receive_key,
            sent: 0,
            received: 0,
            out,
            incoming,
            slot: None,
        }
    }

    /// Holds `slot` for as long as the link lives.
    pub(super) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(slot);
        self
    }

    pub(super) async fn send(
        &mut self,
        kind: Kind,
        request: u64,
        body: &[u8],
    ) -> Result<(), LinkError> {
        self.out.clear();
        frame::write(
            &mut self.out,
            &self.send_key,
            (kind, self.sent, request),
            body,
        );
        self.sent += 1;
        let written = async {
            self.wire.write_all(&self.out).await?;
            self.wire.flush().await
        };
        timeout(STALL, written)
            .await
            .map_err(|_| LinkError::Stalled)??;
        Ok(())
    }

    pub(super) async fn receive(&mut self, patience: Duration) -> Result<Frame, LinkError> {
        let read = async {
            let mut head = [0; HEAD];
            self.wire.read_exact(&mut head).await?;
            let length = frame::body_length(&head)?;
            self.incoming.clear();
            self.incoming.extend(head);
            self.incoming.resize(HEAD + length + TAG, 0);
            self.wire.read_exact(&mut self.incoming[HEAD..]).await?;
            frame::parse(&self.incoming, &self.receive_key, self.received)
        };
        let frame = timeout(patience, read)
            .await
            .map_err(|_| LinkError::Stalled)??;
        self.received += 1;
        Ok(frame)
    }
}

/// What both sides compute from the token and the two nonces.
struct Keys {
    to_mover: [u8; 32],
    to_cli: [u8; 32],
    mover_proof: [u8; 32],
    cli_proof: [u8; 32],
}

impl Keys {
    fn new(token: &Token, cli: &[u8; NONCE], mover: &[u8; NONCE]) -> Self {
        let key = token.key();
        let derive = |purpose: &[u8]| {
            *blake3::Hasher::new_keyed(&key)
                .update(cli)
                .update(mover)
                .update(purpose)
                .finalize()
                .as_bytes()
        };
        Self {
            to_mover: derive(b"frames to the mover"),
            to_cli: derive(b"frames to the cli"),
            mover_proof: derive(b"i am the mover"),
            cli_proof: derive(b"i am the cli"),
        }
    }
}

async fn greeting(wire: &mut Box<dyn Wire>) -> Result<[u8; NONCE], LinkError> {
    let mut magic = [0; MAGIC.len()];
    wire.read_exact(&mut magic).await?;
    if &magic != MAGIC {
        return Err(LinkError::Stranger);
    }
    let mut nonce = [0; NONCE];
    wire.read_exact(&mut nonce).await?;
    Ok(nonce)
}

async fn expect(wire: &mut Box<dyn Wire>, proof: [u8; 32]) -> Result<(), LinkError> {
    let mut given = [0; 32];
    wire.read_exact(&mut given).await?;
    // Compared as hashes: in constant time.
    let equal = blake3::Hash::from_bytes(given) == blake3::Hash::from_bytes(proof);
    if equal {
        Ok(())
    } else {
        Err(LinkError::Stranger)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random numbers");
    bytes
}
