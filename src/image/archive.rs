//! The image as one file, for `ctr -n k8s.io images import` where there is no registry.
//!
//! The file is an OCI layout and carries docker's `manifest.json` beside it, so old tools read it too.

use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::json;
use tar::Builder;

use super::layer::entry;
use super::{Blob, Image, ImageError};

impl Image {
    /// Writes the image as a tar archive that names itself `reference`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path, reference: &str) -> Result<(), ImageError> {
        let written = File::create(path).and_then(|file| self.write(file, reference));
        written.map_err(|source| ImageError::Write {
            path: path.into(),
            source,
        })
    }

    fn write(&self, file: File, reference: &str) -> io::Result<()> {
        let mut tar = Builder::new(io::BufWriter::new(file));
        entry(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for blob in self.blobs().into_iter().chain([&self.index]) {
            entry(&mut tar, &name(blob), &blob.data)?;
        }
        let mut root = self.index.descriptor();
        // The first is what containerd goes by, the second what the specification names.
        root["annotations"] = json!({
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference,
        });
        let index = json!({"schemaVersion": 2, "manifests": [root]});
        entry(&mut tar, "index.json", index.to_string().as_bytes())?;
        if let [platform] = self.platforms.as_slice() {
            let docker = json!([{
                "Config": name(&platform.config),
                "RepoTags": [reference],
                "Layers": platform.layers.iter().map(name).collect::<Vec<_>>(),
            }]);
            entry(&mut tar, "manifest.json", docker.to_string().as_bytes())?;
        }
        tar.into_inner()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }
}

fn name(blob: &Blob) -> String {
    format!("blobs/{}", blob.digest.replace(':', "/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use crate::image::{Image, sha256};

    #[test]
    fn every_blob_of_the_archive_has_the_digest_it_is_named_by() {
        let binary = crate::image::tests::binary(62);
        let image = Image::build(&[binary.path().into()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        image.save(file.path(), "registry.example/ferry:1").unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(file.reopen().unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            files.insert(name, data);
        }
        for (name, data) in &files {
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(sha256(data), format!("sha256:{digest}"));
            }
        }
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], image.digest());
        assert!(files.contains_key("manifest.json"));
    }
}
