//! Images of registries.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::{Client, Reference};
use tenure_core::root::ImageReference;
use tenure_sandbox::Error;
use tokio::time::timeout;

use crate::cache::{Cache, Part};
use crate::credentials;
use crate::image::{INDEX_TYPES, LONGEST_DOCUMENT, MANIFEST_TYPES, digest_of, invalid};

/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may take with a document.
const DOCUMENT: Duration = Duration::from_secs(120);
/// How often a layer is gone on with after it was cut off.
const ATTEMPTS: u32 = 5;

/// The registries that may be asked.
#[derive(Debug)]
pub(crate) struct Registries {
    allowed: Vec<String>,
    docker_config: Option<PathBuf>,
}

/// One image of a registry.
pub(crate) struct Remote<'r> {
    name: &'r ImageReference,
    client: Client,
    auth: oci_client::secrets::RegistryAuth,
}

impl Registries {
    pub(crate) fn new(allowed: Vec<String>, docker_config: Option<PathBuf>) -> Self {
        Self { allowed, docker_config }
    }

    /// Whether the operator lets the server ask the registry of an image.
    pub(crate) fn check(&self, name: &ImageReference) -> Result<(), Error> {
        let registry = name.registry();
        if self.allowed.iter().any(|allowed| allowed == registry) {
            return Ok(());
        }
        let why =
            format!("this server may not ask the registry {registry}; its operator says which with `--registries`");
        Err(invalid(&name.to_string(), why))
    }

    /// Prepares asking for an image.
    pub(crate) async fn remote<'r>(&self, name: &'r ImageReference) -> Result<Remote<'r>, Error> {
        self.check(name)?;
        let registry = name.registry();
        let auth = credentials::of(self.docker_config.as_deref(), registry)?;
        // Nothing goes over a network in the clear.
        let protocol = if is_loopback(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(SILENCE),
            read_timeout: Some(SILENCE),
            user_agent: concat!("tenure/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| failed(name, error))?;
        let remote = Remote { name, client, auth };
        // Asking for a layer doesn't take them along.
        let host = remote.reference(None).resolve_registry().to_owned();
        remote.client.store_auth_if_needed(&host, &remote.auth).await;
        Ok(remote)
    }
}

/// Whether a registry is on this machine.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        Some(_) | None => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Remote<'_> {
    /// The manifest or index that a digest names, or else the reference.
    pub(crate) async fn document(&self, digest: Option<&str>) -> Result<(Vec<u8>, String), Error> {
        let accepted: Vec<&str> = MANIFEST_TYPES.into_iter().chain(INDEX_TYPES).collect();
        let reference = self.reference(digest);
        let pulled = timeout(DOCUMENT, self.client.pull_manifest_raw(&reference, &self.auth, &accepted)).await;
        let (bytes, _) = pulled.map_err(|_| self.slow("its manifest"))?.map_err(|error| failed(self.name, error))?;
        if bytes.len() as u64 > LONGEST_DOCUMENT {
            return Err(invalid(
                &self.name.to_string(),
                format_args!("its manifest is longer than {LONGEST_DOCUMENT} bytes"),
            ));
        }
        let found = digest_of(&bytes);
        match digest.or(self.name.digest()) {
            Some(wanted) if wanted != found => {
                Err(invalid(&self.name.to_string(), format_args!("the registry gave {found} for {wanted}")))
            }
            Some(_) | None => Ok((bytes.to_vec(), found)),
        }
    }

    /// A short blob, whole.
    pub(crate) async fn blob(&self, digest: &str, bytes: u64) -> Result<Vec<u8>, Error> {
        let fetch = async {
            let stream = self.client.pull_blob_stream(&self.reference(None), digest).await;
            let mut stream = stream.map_err(|error| failed(self.name, error))?;
            let mut whole = Vec::new();
            while let Some(chunk) = stream.stream.try_next().await.map_err(|error| unreadable(self.name, &error))? {
                whole.extend_from_slice(&chunk);
                if whole.len() as u64 > bytes {
                    let why = format!("its configuration is longer than the {bytes} bytes it should have");
                    return Err(invalid(&self.name.to_string(), why));
                }
            }
            Ok(whole)
        };
        let whole = timeout(DOCUMENT, fetch).await.map_err(|_| self.slow("its configuration"))??;
        let found = digest_of(&whole);
        if found != digest {
            return Err(invalid(&self.name.to_string(), format_args!("the registry gave {found} for {digest}")));
        }
        Ok(whole)
    }

    /// Fetches a layer into the cache, going on where it was cut off.
    pub(crate) async fn layer(&self, cache: &Cache, digest: &str, bytes: u64) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut part = cache.begin(digest, bytes).map_err(|error| unkept(self.name, error))?;
            let before = part.length();
            let fetched = if before == bytes { Ok(()) } else { self.add(&mut part, digest).await };
            let (reached, goes_on) = (part.length(), attempt < ATTEMPTS);
            match fetched {
                Ok(()) => match part.finish() {
                    Err(_) if reached < bytes && reached > before && goes_on => {}
                    finished => return finished.map_err(|error| self.wrong_layer(digest, &error)),
                },
                // Cut off in the middle: there is more to come.
                Err(_) if reached > before && reached < bytes && goes_on => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn add(&self, part: &mut Part, digest: &str) -> Result<(), Error> {
        let reference = self.reference(None);
        let mut stream = if part.length() == 0 {
            self.client.pull_blob_stream(&reference, digest).await.map_err(|error| failed(self.name, error))?
        } else {
            let rest = self.client.pull_blob_stream_partial(&reference, digest, part.length(), None).await;
            match rest.map_err(|error| failed(self.name, error))? {
                BlobResponse::Partial(stream) => stream,
                BlobResponse::Full(stream) => {
                    part.restart().map_err(|error| unkept(self.name, error))?;
                    stream
                }
            }
        };
        loop {
            let chunk = match stream.stream.try_next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let error = unreadable(self.name, &error);
                    if matches!(error, Error::Invalid(_)) {
                        part.discard();
                    }
                    return Err(error);
                }
            };
            part.add(&chunk).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => self.wrong_layer(digest, &error),
                _ => unkept(self.name, error),
            })?;
        }
    }

    fn wrong_layer(&self, digest: &str, error: &std::io::Error) -> Error {
        invalid(&self.name.to_string(), format_args!("the layer {digest}: {error}"))
    }

    fn reference(&self, digest: Option<&str>) -> Reference {
        let (registry, repository) = (self.name.registry().to_owned(), self.name.repository().to_owned());
        match (digest.or(self.name.digest()), self.name.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_owned()),
            (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
        }
    }

    fn slow(&self, what: &str) -> Error {
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the registry took too long");
        Error::Failed { doing: format!("fetching {what}, of {}", self.name), source: late }
    }
}

/// What a registry answered, in words that say whose turn it is: a wrong name is the client's, a dead registry isn't.
fn failed(name: &ImageReference, error: OciDistributionError) -> Error {
    use OciDistributionError as E;
    let registry = name.registry();
    match error {
        E::ImageManifestNotFoundError(_) => invalid(&name.to_string(), format_args!("{registry} has no such image")),
        E::ServerError { code: 404, .. } => invalid(&name.to_string(), format_args!("{registry} has no such image")),
        E::RegistryError { envelope, .. } => {
            let codes: Vec<String> = envelope.errors.iter().take(3).map(|error| format!("{:?}", error.code)).collect();
            invalid(&name.to_string(), format_args!("{registry} refuses it: {}", codes.join(", ")))
        }
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => invalid(
            &name.to_string(),
            format_args!(
                "{registry} has no such image, or shows it to others only; credentials are given by `--registry-credentials`"
            ),
        ),
        E::DigestError(error) => invalid(&name.to_string(), error),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(&other);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            Error::Failed {
                doing: format!("asking {registry} for the image {name}"),
                source: std::io::Error::other(text),
            }
        }
    }
}

/// What was received isn't what it should be, or didn't come to its end.
fn unreadable(name: &ImageReference, error: &std::io::Error) -> Error {
    let is_digest = error.get_ref().is_some_and(|inner| inner.is::<oci_client::errors::DigestError>());
    match is_digest {
        true => invalid(&name.to_string(), error),
        false => Error::Failed {
            doing: format!("fetching the image {name}"),
            source: std::io::Error::other(error.to_string()),
        },
    }
}

fn unkept(name: &ImageReference, source: std::io::Error) -> Error {
    Error::Failed { doing: format!("keeping a layer of {name}"), source }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_asked_in_the_clear() {
        for ours in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(ours), "{ours}");
        }
        for theirs in ["docker.io", "localhost.example:80", "10.0.0.1:5000", "127.0.0.1.example", "[fe80::1]:5000"] {
            assert!(!is_loopback(theirs), "{theirs}");
        }
    }
}
