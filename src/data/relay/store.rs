//! The mover's side: an object store whose every call is a question to the CLI.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde::de::DeserializeOwned;

use super::ask::{Answer, Ask, Line, error};
use super::frame::{BODY, Kind};
use super::link::{Link, LinkError};
use super::pool::Pool;

/// How long the CLI may take to answer: longer than it waits for the store itself, so that what became of that is heard.
const ANSWER: Duration = Duration::from_secs(350);

/// Links tried for one request. Each lost one may have been dead for long, so there may be as many
/// as the CLI opens, twice over.
const TRIES: u32 = 10;
/// Deletes asked for at one time.
const DELETES: usize = 4;

/// Size and digest of data that came or went in pieces.
#[derive(Default)]
pub(super) struct Sum {
    hasher: blake3::Hasher,
    size: u64,
}

impl Sum {
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.size += piece.len() as u64;
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The body of an end frame.
    pub(super) fn finish(&self) -> Vec<u8> {
        [
            &self.size.to_le_bytes()[..],
            self.hasher.finalize().as_bytes(),
        ]
        .concat()
    }
}

/// Reads the JSON of a frame.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(body).map_err(|_| LinkError::Garbled("a message cannot be read"))
}

/// A store that lives where the CLI runs.
#[derive(Clone, Debug)]
pub(crate) struct RelayStore {
    pool: Pool,
    requests: Arc<AtomicU64>,
}

impl fmt::Display for RelayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store behind the relay")
    }
}

impl RelayStore {
    /// A store that asks over the links of `pool`.
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool,
            requests: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Asks, over as many links as it takes, and returns the answer with the data that followed it.
    /// The flag says whether an earlier try may have been done without our hearing of it.
    async fn ask(&self, ask: &Ask, payload: Option<&PutPayload>) -> Result<(Answer, Bytes, bool)> {
        let mut last = None;
        for attempt in 0..TRIES {
            let Some(mut link) = self.pool.take().await else {
                break;
            };
            let request = self.requests.fetch_add(1, Ordering::Relaxed);
            match exchange(&mut link, request, ask, payload).await {
                Ok((
                    Answer::Failed {
                        kind,
                        path,
                        message,
                    },
                    _,
                )) => {
                    self.pool.put(link);
                    let ours = attempt > 0 && matches!(kind, super::ask::Failure::AlreadyExists);
                    return match payload {
                        Some(payload) if ours => self.already_there(ask, payload, &path).await,
                        _ => Err(error(kind, path, message)),
                    };
                }
                Ok((answer, data)) => {
                    self.pool.put(link);
                    return Ok((answer, data, attempt > 0));
                }
                Err(error) => {
                    tracing::debug!(%error, attempt, "a relay link was lost");
                    last = Some(error);
                }
            }
        }
        let source: Box<dyn std::error::Error + Send + Sync> = match last {
            Some(error) => Box::new(error),
            None => self.pool.absence().into(),
        };
        Err(Error::Generic {
            store: "relay",
            source,
        })
    }

    /// A create was repeated because its answer was lost, and finds an object: is it ours?
    async fn already_there(
        &self,
        ask: &Ask,
        payload: &PutPayload,
        path: &str,
    ) -> Result<(Answer, Bytes, bool)> {
        let Ask::Put { path: asked, .. } = ask else {
            return Err(error(
                super::ask::Failure::AlreadyExists,
                path.into(),
                "it exists".into(),
            ));
        };
        let stored = Box::pin(self.get(&Path::parse(asked)?))
            .await?
            .bytes()
            .await?;
        if stored == Bytes::from(payload.clone()) {
            return Ok((
                Answer::Written {
                    e_tag: None,
                    version: None,
                },
                Bytes::new(),
                true,
            ));
        }
        Err(error(
            super::ask::Failure::AlreadyExists,
            asked.clone(),
            "it exists".into(),
        ))
    }

    async fn lines(&self, ask: &Ask) -> Result<Vec<Line>> {
        let (answer, data, _) = self.ask(ask, None).await?;
        if answer != Answer::Lines {
            return Err(unexpected(&answer));
        }
        data.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| decode(line).map_err(generic))
            .collect()
    }
}

/// One request over one link, to its very end. After an error the link is in an unknown state.
async fn exchange(
    link: &mut Link,
    request: u64,
    ask: &Ask,
    payload: Option<&PutPayload>,
) -> Result<(Answer, Bytes), LinkError> {
    let body =
        serde_json::to_vec(ask).map_err(|_| LinkError::Garbled("a request cannot be written"))?;
    link.send(Kind::Ask, request, &body).await?;
    if let Some(payload) = payload {
        let mut sum = Sum::default();
        for piece in payload.iter().flat_map(|bytes| bytes.chunks(BODY)) {
            sum.add(piece);
            link.send(Kind::Data, request, piece).await?;
        }
        link.send(Kind::End, request, &sum.finish()).await?;
    }
    let mut answer = None;
    let mut sum = Sum::default();
    let mut data = Vec::new();
    loop {
        let frame = link.receive(ANSWER).await?;
        if frame.request != request {
            return Err(LinkError::Garbled("an answer to another request"));
        }
        match (frame.kind, &answer) {
            (Kind::Answer, _) => {
                let said: Answer = decode(&frame.body)?;
                let more = match &said {
                    Answer::Object { .. } => !matches!(ask, Ask::Get { head: true, .. }),
                    Answer::Lines => true,
                    Answer::Done | Answer::Written { .. } | Answer::Failed { .. } => false,
                };
                if !more {
                    return Ok((said, Bytes::new()));
                }
                answer = Some(said);
            }
            (Kind::Data, Some(_)) => {
                sum.add(&frame.body);
                data.extend(frame.body);
            }
            (Kind::End, Some(_)) if frame.body == sum.finish() => {
                return Ok((answer.unwrap_or(Answer::Done), data.into()));
            }
            _ => return Err(LinkError::Garbled("an answer is not complete")),
        }
    }
}

#[async_trait]
impl ObjectStore for RelayStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => return Err(missing("conditional update")),
        };
        let ask = Ask::Put {
            path: location.to_string(),
            create,
        };
        match self.ask(&ask, Some(&payload)).await? {
            (Answer::Written { e_tag, version }, ..) => Ok(PutResult {
                e_tag,
                version,
                extensions: Extensions::default(),
            }),
            (other, ..) => Err(unexpected(&other)),
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(missing("multipart upload"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let conditional = options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some()
            || options.version.is_some();
        if conditional {
            return Err(missing("conditional get"));
        }
        let range = options.range.map(Into::into);
        let ask = Ask::Get {
            path: location.to_string(),
            range,
            head: options.head,
        };
        match self.ask(&ask, None).await? {
            (Answer::Object { meta, start, end }, data, _) => {
                let complete = options.head || end.checked_sub(start) == Some(data.len() as u64);
                if !complete {
                    return Err(generic(LinkError::Garbled("an object has another size")));
                }
                Ok(GetResult {
                    payload: GetResultPayload::Stream(stream::iter([Ok(data)]).boxed()),
                    meta: meta.try_into()?,
                    range: start..end,
                    attributes: Attributes::default(),
                    extensions: Extensions::default(),
                })
            }
            (other, ..) => Err(unexpected(&other)),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    match store
                        .ask(
                            &Ask::Delete {
                                path: location.to_string(),
                            },
                            None,
                        )
                        .await
                    {
                        Ok(_) => Ok(location),
                        Err(error) => Err(error),
                    }
                }
            })
            .buffered(DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let ask = Ask::ListFolder {
            folder: prefix.map(ToString::to_string),
        };
        let (mut objects, mut common_prefixes) = (Vec::new(), Vec::new());
        for line in self.lines(&ask).await? {
            match line {
                Line::Object(meta) => objects.push(meta.try_into()?),
                Line::Folder(path) => common_prefixes.push(Path::parse(path)?),
            }
        }
        Ok(ListResult {
            common_prefixes,
            objects,
            extensions: Extensions::default(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let create = matches!(options.mode, CopyMode::Create);
        let ask = Ask::Copy {
            from: from.to_string(),
            to: to.to_string(),
            create,
        };
        self.ask(&ask, None).await.map(drop)
    }
}

impl RelayStore {
    fn listed(
        &self,
        folder: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let text = |path: Option<&Path>| path.map(ToString::to_string);
        let (store, ask) = (
            self.clone(),
            Ask::List {
                folder: text(folder),
                after: text(after),
            },
        );
        let lines = async move {
            store
                .lines(&ask)
                .await
                .map(|lines| stream::iter(lines).map(Ok))
        };
        stream::once(lines)
            .try_flatten()
            .and_then(|line| async move {
                match line {
                    Line::Object(meta) => meta.try_into(),
                    Line::Folder(_) => Err(generic(LinkError::Garbled("a folder among objects"))),
                }
            })
            .boxed()
    }
}

fn generic(error: LinkError) -> Error {
    Error::Generic {
        store: "relay",
        source: Box::new(error),
    }
}

fn unexpected(answer: &Answer) -> Error {
    tracing::debug!(?answer, "unexpected answer");
    generic(LinkError::Garbled("the answer does not fit the request"))
}

fn missing(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.into(),
        implementer: "the relay".into(),
    }
}
