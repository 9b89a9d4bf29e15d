//! The side that is asked, the CLI or a depot: does what a mover asks on the real store, and answers.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::ask::{Answer, Ask, Line};
use super::frame::{BODY, Kind};
use super::link::{Link, LinkError, STALL};
use super::store::{Sum, decode};

/// Movers ping idle links every 15 s; one that is silent for this long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest object taken in: four times restic's largest pack.
const LIMIT: usize = 512 << 20;
/// Bytes of list lines per frame.
const PAGE: usize = 256 << 10;

/// Serves one link from `store` until it breaks. Objects that come in are held in memory until they are whole:
/// `intake` has a permit for each that may be, over all links that share it.
pub(crate) async fn serve(
    link: &mut Link,
    store: &dyn ObjectStore,
    intake: &Semaphore,
) -> LinkError {
    loop {
        if let Err(error) = turn(link, store, intake).await {
            return error;
        }
    }
}

async fn turn(
    link: &mut Link,
    store: &dyn ObjectStore,
    intake: &Semaphore,
) -> Result<(), LinkError> {
    let frame = link.receive(SILENCE).await?;
    let request = frame.request;
    match frame.kind {
        Kind::Ping => return link.send(Kind::Pong, request, &[]).await,
        Kind::Ask => {}
        _ => return Err(LinkError::Garbled("data came without a request")),
    }
    let answer = match decode(&frame.body)? {
        Ask::Get { path, range, head } => {
            let options = GetOptions {
                range: range.map(Into::into),
                head,
                ..GetOptions::default()
            };
            get(link, request, store, &path, options).await?
        }
        Ask::Put { path, create } => {
            // Never closed, so there is always a permit in the end.
            let _permit = intake.acquire().await;
            put(link, request, store, &path, create).await?
        }
        Ask::List { folder, after } => {
            list(link, request, store, folder.as_deref(), after.as_deref()).await?
        }
        Ask::ListFolder { folder } => list_folder(link, request, store, folder.as_deref()).await?,
        Ask::Delete { path } => {
            let deleted = async { store.delete(&Path::parse(&path)?).await };
            Some(deleted.await.map_or_else(Into::into, |()| Answer::Done))
        }
        Ask::Copy { from, to, create } => {
            let mode = if create {
                CopyMode::Create
            } else {
                CopyMode::Overwrite
            };
            let options = CopyOptions {
                mode,
                ..CopyOptions::default()
            };
            let copied = async {
                store
                    .copy_opts(&Path::parse(&from)?, &Path::parse(&to)?, options)
                    .await
            };
            Some(copied.await.map_or_else(Into::into, |()| Answer::Done))
        }
    };
    match answer {
        Some(answer) => say(link, Kind::Answer, request, &answer).await,
        None => Ok(()),
    }
}

/// Sends an object; an answer is returned only where no data was promised or it cannot be kept.
async fn get(
    link: &mut Link,
    request: u64,
    store: &dyn ObjectStore,
    path: &str,
    options: GetOptions,
) -> Result<Option<Answer>, LinkError> {
    let head = options.head;
    let found = async { store.get_opts(&Path::parse(path)?, options).await };
    let found = match found.await {
        Ok(found) => found,
        Err(error) => return Ok(Some(error.into())),
    };
    let (start, end) = (found.range.start, found.range.end);
    let answer = Answer::Object {
        meta: found.meta.clone().into(),
        start,
        end,
    };
    if head {
        return Ok(Some(answer));
    }
    say(link, Kind::Answer, request, &answer).await?;
    let mut sum = Sum::default();
    // A folder gives 8 KiB at a time; frames, digests and system calls are for more.
    let mut pieces = found.into_stream();
    let mut full = Vec::new();
    loop {
        match pieces.try_next().await {
            Ok(Some(piece)) => full.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => return Ok(Some(error.into())),
        }
        if full.len() >= BODY {
            data(link, request, &mut sum, &full).await?;
            full.clear();
        }
    }
    data(link, request, &mut sum, &full).await?;
    link.send(Kind::End, request, &sum.finish()).await?;
    Ok(None)
}

async fn put(
    link: &mut Link,
    request: u64,
    store: &dyn ObjectStore,
    path: &str,
    create: bool,
) -> Result<Option<Answer>, LinkError> {
    let mut sum = Sum::default();
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        let frame = link.receive(STALL).await?;
        if frame.request != request {
            return Err(LinkError::Garbled("data of another request"));
        }
        match frame.kind {
            Kind::Data => {
                sum.add(&frame.body);
                if sum.size() > LIMIT as u64 {
                    return Err(LinkError::Garbled("an object is too large"));
                }
                pieces.push(frame.body.into());
            }
            Kind::End if frame.body == sum.finish() => break,
            _ => return Err(LinkError::Garbled("an object is not complete")),
        }
    }
    let mode = if create {
        PutMode::Create
    } else {
        PutMode::Overwrite
    };
    let options = PutOptions {
        mode,
        ..PutOptions::default()
    };
    let written = async {
        let payload = pieces.into_iter().collect();
        store.put_opts(&Path::parse(path)?, payload, options).await
    };
    Ok(Some(match written.await {
        Ok(result) => Answer::Written {
            e_tag: result.e_tag,
            version: result.version,
        },
        Err(error) => error.into(),
    }))
}

async fn list(
    link: &mut Link,
    request: u64,
    store: &dyn ObjectStore,
    folder: Option<&str>,
    after: Option<&str>,
) -> Result<Option<Answer>, LinkError> {
    let parsed = || {
        Ok::<_, Error>((
            folder.map(Path::parse).transpose()?,
            after.map(Path::parse).transpose()?,
        ))
    };
    let (folder, after) = match parsed() {
        Ok(paths) => paths,
        Err(error) => return Ok(Some(error.into())),
    };
    let mut metas = match after {
        Some(after) => store.list_with_offset(folder.as_ref(), &after),
        None => store.list(folder.as_ref()),
    };
    let mut lines = Lines::new(link, request).await?;
    while let Some(meta) = metas.next().await {
        match meta {
            Ok(meta) => lines.add(&Line::Object(meta.into())).await?,
            Err(error) => return Ok(Some(error.into())),
        }
    }
    lines.finish().await?;
    Ok(None)
}

async fn list_folder(
    link: &mut Link,
    request: u64,
    store: &dyn ObjectStore,
    folder: Option<&str>,
) -> Result<Option<Answer>, LinkError> {
    let listed = async {
        let folder = folder.map(Path::parse).transpose()?;
        store.list_with_delimiter(folder.as_ref()).await
    };
    let listed = match listed.await {
        Ok(listed) => listed,
        Err(error) => return Ok(Some(error.into())),
    };
    let mut lines = Lines::new(link, request).await?;
    for folder in listed.common_prefixes {
        lines.add(&Line::Folder(folder.into())).await?;
    }
    for meta in listed.objects {
        lines.add(&Line::Object(meta.into())).await?;
    }
    lines.finish().await?;
    Ok(None)
}

/// Sends a list as JSON lines, many to a frame.
struct Lines<'a> {
    link: &'a mut Link,
    request: u64,
    sum: Sum,
    page: Vec<u8>,
}

impl<'a> Lines<'a> {
    async fn new(link: &'a mut Link, request: u64) -> Result<Self, LinkError> {
        say(link, Kind::Answer, request, &Answer::Lines).await?;
        Ok(Self {
            link,
            request,
            sum: Sum::default(),
            page: Vec::new(),
        })
    }

    async fn add(&mut self, line: &Line) -> Result<(), LinkError> {
        self.page.extend(encode(line)?);
        self.page.push(b'\n');
        if self.page.len() >= PAGE {
            data(self.link, self.request, &mut self.sum, &self.page).await?;
            self.page.clear();
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), LinkError> {
        data(self.link, self.request, &mut self.sum, &self.page).await?;
        self.link
            .send(Kind::End, self.request, &self.sum.finish())
            .await
    }
}

async fn data(link: &mut Link, request: u64, sum: &mut Sum, bytes: &[u8]) -> Result<(), LinkError> {
    for piece in bytes.chunks(BODY) {
        sum.add(piece);
        link.send(Kind::Data, request, piece).await?;
    }
    Ok(())
}

async fn say<T: Serialize + Sync>(
    link: &mut Link,
    kind: Kind,
    request: u64,
    what: &T,
) -> Result<(), LinkError> {
    link.send(kind, request, &encode(what)?).await
}

fn encode<T: Serialize>(what: &T) -> Result<Vec<u8>, LinkError> {
    serde_json::to_vec(what).map_err(|_| LinkError::Garbled("an answer cannot be written"))
}
