//! What an S3 client signs with, when the hash of what it sends is known already.
//!
//! Each request is signed with the SHA-256 of its content. Almost everything the engine sends is named after that very
//! hash, and computing it again costs a mover an eighth of its processor time. So the sender says it beside the
//! request, and the client's digest takes it from there, if what it is fed is that content: the same memory, not merely
//! the same bytes. Anything else is computed.

use std::future::Future;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use object_store::Error;
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};

use super::id::Id;

tokio::task_local! {
    static SENT: (Bytes, Id);
}

/// Sends `data`, whose hash is `id`.
pub(super) async fn known<F: Future>(data: Bytes, id: Id, send: F) -> F::Output {
    SENT.scope((data, id), send).await
}

/// Digests of an S3 client that make use of it.
#[derive(Debug)]
pub(crate) struct KnownDigests;

impl CryptoProvider for KnownDigests {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hash::default())),
            other => Err(unknown(&other)),
        }
    }

    fn hmac(
        &self,
        algorithm: DigestAlgorithm,
        secret: &[u8],
    ) -> object_store::Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                Ok(Box::new(Mac(hmac::Context::with_key(&key), None)))
            }
            other => Err(unknown(&other)),
        }
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        _pem: &[u8],
    ) -> object_store::Result<Box<dyn Signer>> {
        Err(unknown(&algorithm))
    }
}

fn unknown(algorithm: &dyn std::fmt::Debug) -> Error {
    Error::NotSupported {
        source: format!("S3 requests are not signed with {algorithm:?}").into(),
    }
}

#[derive(Default)]
struct Hash {
    /// What it was fed, as long as that is what was sent, and its hash.
    known: Option<(Bytes, Id)>,
    computed: Option<digest::Context>,
    result: Option<Id>,
}

impl Hash {
    fn compute(&mut self, data: &[u8]) {
        let context = self
            .computed
            .get_or_insert_with(|| digest::Context::new(&digest::SHA256));
        context.update(data);
    }
}

impl DigestContext for Hash {
    fn update(&mut self, data: &[u8]) {
        if let Some((before, _)) = self.known.take() {
            self.compute(&before);
        } else if self.computed.is_none() {
            let sent = SENT.try_with(Clone::clone).ok();
            self.known = sent.filter(|(sent, _)| std::ptr::eq(&raw const **sent, data));
        }
        if self.known.is_none() {
            self.compute(data);
        }
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let result = match self.known.take() {
            Some((_, id)) => id,
            None => {
                self.compute(&[]);
                let context = self.computed.take();
                let digest = context.map(digest::Context::finish);
                let mut id = Id([0; 32]);
                if let Some(digest) = digest {
                    id.0.copy_from_slice(digest.as_ref());
                }
                id
            }
        };
        Ok(&self.result.insert(result).0)
    }
}

struct Mac(hmac::Context, Option<hmac::Tag>);

impl HmacContext for Mac {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let tag = self.0.clone().sign();
        let tag: &hmac::Tag = self.1.insert(tag);
        Ok(tag.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(parts: &[&[u8]]) -> Id {
        let mut hash = KnownDigests.digest(DigestAlgorithm::Sha256).unwrap();
        parts.iter().for_each(|part| hash.update(part));
        Id(hash.finish().unwrap().try_into().unwrap())
    }

    #[test]
    fn what_nobody_told_the_hash_of_is_hashed() {
        assert_eq!(hashed(&[]), Id::of(b""));
        assert_eq!(hashed(&[b"a", b"bc"]), Id::of(b"abc"));
        let mut mac = KnownDigests.hmac(DigestAlgorithm::Sha256, b"key").unwrap();
        mac.update(b"abc");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        assert_eq!(mac.finish().unwrap(), hmac::sign(&key, b"abc").as_ref());
    }

    #[tokio::test]
    async fn only_the_very_content_that_is_sent_gets_the_hash_that_was_told() {
        let data = Bytes::from(b"content".to_vec());
        // A hash that is not its own shows where it comes from.
        let told = Id([7; 32]);
        let of = |parts: Vec<Vec<u8>>| {
            let (sent, own) = (data.clone(), data.clone());
            known(sent, told, async move {
                let mut all: Vec<&[u8]> = vec![&own];
                all.extend(parts.iter().map(Vec::as_slice));
                hashed(&all)
            })
        };
        assert_eq!(of(Vec::new()).await, told);
        assert_eq!(of(vec![b" more".to_vec()]).await, Id::of(b"content more"));
        let copy = data.to_vec();
        let copied = known(data.clone(), told, async move { hashed(&[&copy]) });
        assert_eq!(copied.await, Id::of(b"content"));
        let part = data.slice(..3);
        let partly = known(data.clone(), told, async move { hashed(&[&part]) });
        assert_eq!(partly.await, Id::of(b"con"));
        assert_eq!(hashed(&[&data]), Id::of(b"content"));
    }
}
