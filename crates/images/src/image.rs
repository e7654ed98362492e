//! What an image says of itself: manifests, indexes and configurations, all of them strangers' words.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tenure_core::root::{Root, is_digest};
use tenure_sandbox::{Error, Image, ImageLayer, Packing};

/// The longest manifest, index or configuration.
pub(crate) const LONGEST_DOCUMENT: u64 = 4 << 20;
/// The most layers of an image: what other runtimes take, too.
const MOST_LAYERS: usize = 127;
/// The most images in an index.
const MOST_IMAGES: usize = 1_000;
/// The largest file of a layer, and of all layers together.
const LARGEST_LAYER: u64 = 8 << 30;
const LARGEST_IMAGE: u64 = 32 << 30;
/// The most that the environment of an image may say.
const LONGEST_ENV: usize = 32 << 10;

pub(crate) const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
pub(crate) const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// The variables that say who a program runs as, which an image can't know.
const OURS: [&str; 5] = ["HOME", "USER", "LOGNAME", "SHELL", "PWD"];

/// Something that a document refers to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Either of the two things that a reference can lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// The image for this machine, out of several.
    Elsewhere(Descriptor),
    Manifest(Manifest),
}

/// What an image consists of.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Untyped {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Running>,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Running {
    #[serde(default, rename = "Env")]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// What this machine is called by those who build images.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The digest of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    printed(Sha256::digest(bytes).as_slice())
}

/// A digest as it is written.
pub(crate) fn printed(hash: &[u8]) -> String {
    use std::fmt::Write;
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what a reference led to.
pub(crate) fn read(root: &str, bytes: &[u8]) -> Result<Document, Error> {
    let wrong = |why: &dyn std::fmt::Display| invalid(root, format_args!("its manifest can't be read: {why}"));
    let untyped: Untyped = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    if untyped.schema_version != 2 {
        let why = format!("expected version 2 of the format, got {}", untyped.schema_version);
        return Err(wrong(&why));
    }
    match (untyped.manifests, untyped.config) {
        (Some(images), None) => choose(root, images).map(Document::Elsewhere),
        (None, Some(_)) => {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
            manifest.check(root).map(Document::Manifest)
        }
        (Some(_), Some(_)) | (None, None) => Err(wrong(&"it is neither an image nor an index of images")),
    }
}

/// The image for this machine.
fn choose(root: &str, images: Vec<Descriptor>) -> Result<Descriptor, Error> {
    if images.len() > MOST_IMAGES {
        return Err(invalid(
            root,
            format_args!("it is an index of {} images; at most {MOST_IMAGES} are looked at", images.len()),
        ));
    }
    let is_image = |image: &Descriptor| {
        image.media_type.is_empty()
            || MANIFEST_TYPES.contains(&image.media_type.as_str())
            || INDEX_TYPES.contains(&image.media_type.as_str())
    };
    let images: Vec<Descriptor> = images.into_iter().filter(is_image).collect();
    let is_ours = |image: &Descriptor| {
        image
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
    };
    // An index without platforms, as in most archives, has one image.
    let chosen = match images.as_slice() {
        [only] if only.platform.is_none() => Some(only.clone()),
        several => several.iter().find(|image| is_ours(image)).cloned(),
    };
    let offered = || {
        let platforms = images.iter().filter_map(|image| image.platform.as_ref());
        let names: Vec<String> =
            platforms.take(20).map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect();
        if names.is_empty() { "none that names its platform".to_owned() } else { names.join(", ") }
    };
    let chosen = chosen.ok_or_else(|| {
        invalid(root, format_args!("it has no image for linux/{}, only: {}", architecture(), offered()))
    })?;
    check_descriptor(root, &chosen, "an image", LONGEST_DOCUMENT)?;
    Ok(chosen)
}

impl Manifest {
    fn check(self, root: &str) -> Result<Self, Error> {
        check_descriptor(root, &self.config, "its configuration", LONGEST_DOCUMENT)?;
        match self.layers.len() {
            0 => return Err(invalid(root, "it has no layers")),
            1..=MOST_LAYERS => {}
            count => {
                return Err(invalid(root, format_args!("it has {count} layers; at most {MOST_LAYERS} can be mounted")));
            }
        }
        for layer in &self.layers {
            check_descriptor(root, layer, "a layer", LARGEST_LAYER)?;
            packing(root, &layer.media_type)?;
        }
        let total: u64 = self.layers.iter().map(|layer| layer.size).sum();
        if total > LARGEST_IMAGE {
            return Err(invalid(
                root,
                format_args!("its layers are {total} bytes together; at most {LARGEST_IMAGE} are fetched"),
            ));
        }
        Ok(self)
    }

    /// The image, with what its configuration says.
    pub(crate) fn image(&self, root: &Root, name: &str, digest: String, configuration: &[u8]) -> Result<Image, Error> {
        let configuration: Configuration = serde_json::from_slice(configuration)
            .map_err(|error| invalid(name, format_args!("its configuration can't be read: {error}")))?;
        let Configuration { architecture: made_for, os, config, rootfs } = configuration;
        let is_for_us = (os.is_empty() || os == "linux") && (made_for.is_empty() || made_for == architecture());
        if !is_for_us {
            let ours = architecture();
            return Err(invalid(name, format_args!("it is for {os}/{made_for}, and this machine is linux/{ours}")));
        }
        let (layers, ids) = (self.layers.len(), rootfs.diff_ids.len());
        if layers != ids {
            return Err(invalid(name, format_args!("its manifest has {layers} layers, its configuration {ids}")));
        }
        let layers = self.layers.iter().zip(rootfs.diff_ids).map(|(layer, diff_id)| {
            if !is_digest(&diff_id) {
                return Err(invalid(name, "its configuration has a layer without a sha256 digest"));
            }
            let packing = packing(name, &layer.media_type)?;
            Ok(ImageLayer { digest: layer.digest.clone(), bytes: layer.size, diff_id, packing })
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let env = environment(name, config.and_then(|config| config.env).unwrap_or_default())?;
        Ok(Image { root: root.clone(), digest, env, layers })
    }
}

fn check_descriptor(root: &str, descriptor: &Descriptor, what: &str, most: u64) -> Result<(), Error> {
    if !is_digest(&descriptor.digest) {
        return Err(invalid(root, format_args!("{what} is named by something else than a sha256 digest")));
    }
    if descriptor.size > most {
        let size = descriptor.size;
        return Err(invalid(root, format_args!("{what} is said to be {size} bytes; at most {most} are fetched")));
    }
    Ok(())
}

fn packing(root: &str, media_type: &str) -> Result<Packing, Error> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Packing::Plain),
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Ok(Packing::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            Ok(Packing::Zstd)
        }
        other => {
            let other: String = other.chars().take(100).collect();
            Err(invalid(root, format_args!("a layer is of the type `{other}`; expected tar, tar+gzip or tar+zstd")))
        }
    }
}

/// The environment's pairs; what can't be one is left out, as are those that aren't the image's to say.
fn environment(root: &str, lines: Vec<String>) -> Result<Vec<(String, String)>, Error> {
    if lines.iter().map(String::len).sum::<usize>() > LONGEST_ENV {
        return Err(invalid(root, format_args!("its environment is longer than {LONGEST_ENV} bytes")));
    }
    let pairs = lines.iter().filter_map(|line| line.split_once('='));
    let usable = |(name, value): &(&str, &str)| {
        !name.is_empty() && !name.contains('\0') && !value.contains('\0') && !OURS.contains(name)
    };
    Ok(pairs.filter(usable).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// An image that can't be had as it is.
pub(crate) fn invalid(root: &str, why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the image {root} can't be used: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tenure_core::root::Root;
    use tenure_sandbox::Packing;

    use super::{Document, architecture, read};

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    fn layer(number: usize) -> Value {
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(number), "size": 5})
    }

    fn manifest(layers: Vec<Value>) -> Value {
        json!({"schemaVersion": 2, "config": {"digest": digest(0), "size": 9}, "layers": layers})
    }

    fn refusal(value: &Value) -> String {
        read("x", value.to_string().as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn the_image_for_this_machine_is_chosen() {
        let entry = |os: &str, architecture: &str, number: usize| {
            let platform = json!({"os": os, "architecture": architecture});
            json!({"digest": digest(number), "size": 5, "platform": platform})
        };
        let index = |manifests: Vec<Value>| json!({"schemaVersion": 2, "manifests": manifests});
        let several = index(vec![
            entry("windows", architecture(), 1),
            entry("linux", "vax", 2),
            entry("linux", architecture(), 3),
        ]);
        let Ok(Document::Elsewhere(chosen)) = read("x", several.to_string().as_bytes()) else { panic!("an index") };
        assert_eq!(chosen.digest, digest(3));
        let refused = refusal(&index(vec![entry("linux", "vax", 1)]));
        assert!(refused.ends_with(&format!("no image for linux/{}, only: linux/vax", architecture())), "{refused}");
        assert!(refusal(&index(vec![entry("linux", "vax", 1); 1_001])).contains("1001 images"));
    }

    #[test]
    fn a_manifest_of_too_much_is_refused() {
        let many = (0..10_000).map(layer).collect();
        assert!(refusal(&manifest(many)).contains("it has 10000 layers; at most 127 can be mounted"));
        assert!(refusal(&manifest(Vec::new())).contains("no layers"));
        let mut large = layer(1);
        large["size"] = json!(u64::MAX);
        assert!(refusal(&manifest(vec![large.clone(), large])).contains("a layer is said to be"));
        let mut odd = layer(1);
        odd["digest"] = json!("sha256:../../../etc/passwd");
        assert!(refusal(&manifest(vec![odd])).contains("something else than a sha256 digest"));
        let mut foreign = layer(1);
        foreign["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(refusal(&manifest(vec![foreign])).contains("expected tar, tar+gzip or tar+zstd"));
        assert!(refusal(&json!({"schemaVersion": 1})).contains("expected version 2"));
        assert!(refusal(&json!({"schemaVersion": 2})).contains("neither an image nor an index"));
        assert!(refusal(&json!([])).contains("can't be read"));
    }

    #[test]
    fn the_configuration_fits_the_manifest() {
        let text = manifest(vec![layer(1), layer(2)]).to_string();
        let Ok(Document::Manifest(manifest)) = read("x", text.as_bytes()) else { panic!("a manifest") };
        let image = |configuration: Value| {
            let configuration = configuration.to_string();
            manifest.image(&Root::Host, "x", digest(9), configuration.as_bytes()).map_err(|error| error.to_string())
        };
        let both = json!({"diff_ids": [digest(3), digest(4)]});
        let env = json!({"Env": ["PATH=/a:/b", "HOME=/root", "=x", "odd", "LANG="]});
        let made = image(json!({"os": "linux", "architecture": architecture(), "rootfs": both, "config": env}));
        let made = made.expect("an image");
        assert_eq!(
            made.env,
            [("PATH", "/a:/b"), ("LANG", "")].map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(made.layers[1].diff_id, digest(4));
        assert_eq!(made.layers[1].packing, Packing::Gzip);
        let refused = |configuration| image(configuration).expect_err("refused");
        assert!(refused(json!({"rootfs": {"diff_ids": [digest(3)]}})).contains("2 layers, its configuration 1"));
        assert!(refused(json!({"rootfs": {"diff_ids": [digest(3), "md5:x"]}})).contains("without a sha256 digest"));
        assert!(refused(json!({"os": "linux", "architecture": "vax", "rootfs": both})).contains("it is for linux/vax"));
        assert!(
            refused(json!({"rootfs": both, "config": {"Env": ["A=".to_owned() + &"x".repeat(40_000)]}}))
                .contains("environment")
        );
    }
}
