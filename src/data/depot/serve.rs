//! A depot at work, in its pod: a folder as an object store, for who has the token.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::tls::PrivateKey;
use crate::data::relay::{self, Link, Token};

/// Who has not shown the token by then is turned away.
const GREETING: Duration = Duration::from_secs(10);
/// Connections that have not shown it yet. More are closed at once: strangers take no memory.
const STRANGERS: usize = 64;
/// Links at one time: four for each of thirty movers, and the command line's.
const LINKS: usize = 128;
/// Objects on their way in at one time, of the size of a pack each: what bounds the memory.
const INTAKE: usize = 8;
/// Pause after a connection that could not be taken, as when there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a depot knows. It is in its Secret and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    /// What shows that it is this depot.
    pub(super) key: PrivateKey,
    /// What shows that somebody may use it.
    pub(super) token: Token,
}

impl Secrets {
    /// New ones.
    pub(super) fn random() -> io::Result<Self> {
        let (key, token) = (PrivateKey::random()?, Token::random());
        Ok(Self { key, token })
    }
}

/// Serves a folder, which is made if need be, on a port of every address, until the future is dropped.
///
/// # Errors
/// When the folder cannot be written, the secrets are none, or the port is taken.
pub(crate) async fn serve(secrets: &Secrets, folder: &Path, port: u16) -> io::Result<()> {
    let store = folder_store(folder)?;
    let listener = TcpListener::bind(("::", port)).await;
    let listener = match listener {
        Ok(listener) => listener,
        // A node without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    accept(secrets, store, &listener).await
}

/// The folder as a store. Before anybody is let in, it is shown that it can be written.
pub(super) fn folder_store(folder: &Path) -> io::Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(folder)?;
    tempfile::tempfile_in(folder)?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(io::Error::other)?;
    // What a journal says was written must survive the node.
    Ok(Arc::new(store.with_fsync(true)))
}

/// Lets in who shows the token, and serves them.
pub(super) async fn accept(
    secrets: &Secrets,
    store: Arc<dyn ObjectStore>,
    listener: &TcpListener,
) -> io::Result<()> {
    let door = Arc::new(Door {
        acceptor: secrets.key.acceptor()?,
        token: secrets.token.clone(),
        store,
        strangers: Semaphore::new(STRANGERS),
        links: Semaphore::new(LINKS),
        intake: Semaphore::new(INTAKE),
    });
    loop {
        match listener.accept().await {
            Ok((wire, _)) => {
                let door = Arc::clone(&door);
                tokio::spawn(async move { door.answer(wire).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// What every connection needs.
struct Door {
    acceptor: TlsAcceptor,
    token: Token,
    store: Arc<dyn ObjectStore>,
    strangers: Semaphore,
    links: Semaphore,
    intake: Semaphore,
}

impl Door {
    async fn answer(&self, wire: TcpStream) {
        let Ok(stranger) = self.strangers.try_acquire() else {
            return;
        };
        wire.set_nodelay(true).ok();
        let greeted = async {
            let wire = self.acceptor.accept(wire).await?;
            Link::accept(wire, &self.token).await
        };
        let mut link = match timeout(GREETING, greeted).await {
            Ok(Ok(link)) => link,
            // Also what a kubelet that looks whether the port is open gets to see.
            Ok(Err(error)) => return tracing::debug!(%error, "a connection was refused"),
            Err(_) => return tracing::debug!("a connection said nothing"),
        };
        drop(stranger);
        let Ok(_slot) = self.links.try_acquire() else {
            return tracing::warn!("a link too many was refused");
        };
        let ended = relay::serve(&mut link, self.store.as_ref(), &self.intake).await;
        tracing::debug!(error = %ended, "a link ended");
    }
}
