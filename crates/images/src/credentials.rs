//! Who the server is to a registry, from a file in the format of `docker login`.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tenure_sandbox::Error;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
}

/// What that file says of a registry; of one that it doesn't name, nothing is needed. It is read each time, since who logs in
/// changes it. An error never has its content.
pub(crate) fn of(file: Option<&Path>, registry: &str) -> Result<RegistryAuth, Error> {
    let Some(file) = file else { return Ok(RegistryAuth::Anonymous) };
    let unusable =
        |why: &str| Error::Invalid(format!("the registry credentials in {} can't be used: {why}", file.display()));
    let text = std::fs::read(file).map_err(|error| unusable(&error.to_string()))?;
    let config: DockerConfig =
        serde_json::from_slice(&text).map_err(|_| unusable("it is no configuration of `docker login`"))?;
    let entry = names(registry).into_iter().find_map(|name| config.auths.get(&name));
    let Some(Entry { auth }) = entry else { return Ok(RegistryAuth::Anonymous) };
    let pair = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok();
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned())),
        None => Err(unusable(&format!(
            "what it has for {registry} isn't a user and a password; credential helpers are not asked"
        ))),
    }
}

/// What a registry is called in such a file.
fn names(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => {
            vec!["https://index.docker.io/v1/".to_owned(), "index.docker.io".to_owned(), "docker.io".to_owned()]
        }
        other => vec![other.to_owned(), format!("https://{other}"), format!("https://{other}/")],
    }
}

#[cfg(test)]
mod tests {
    use oci_client::secrets::RegistryAuth;

    use super::of;

    #[test]
    fn each_registry_is_told_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.json");
        // me:pass:word
        let text = r#"{"auths": {"a.example": {"auth": "bWU6cGFzczp3b3Jk"}, "https://index.docker.io/v1/": {"auth": "bWU6eA=="}, "b.example": {}}}"#;
        std::fs::write(&file, text).expect("written");
        let basic = |user: &str, password: &str| RegistryAuth::Basic(user.to_owned(), password.to_owned());
        assert_eq!(of(Some(&file), "a.example").expect("read"), basic("me", "pass:word"));
        assert_eq!(of(Some(&file), "docker.io").expect("read"), basic("me", "x"));
        assert_eq!(of(Some(&file), "c.example").expect("read"), RegistryAuth::Anonymous);
        assert_eq!(of(None, "a.example").expect("nothing to read"), RegistryAuth::Anonymous);
        assert!(of(Some(&file), "b.example").expect_err("empty").to_string().contains("credential helpers"));
        std::fs::write(&file, "secret").expect("written");
        let error = of(Some(&file), "a.example").expect_err("garbled").to_string();
        assert!(error.contains("docker login") && !error.contains("secret"), "{error}");
    }
}
