//! What the models are told.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Result, anyhow};
use tenure_models::{Endpoint, Secret};

use crate::failure::advised;
use crate::settings::Settings;

/// The model servers of the environment and of the settings. Those added with `tenure models add` come on top.
pub(super) fn settings(settings: &Settings, scripts: &Path) -> tenure_models::Settings {
    let anthropic =
        endpoint(settings.anthropic_base_url.as_deref(), settings.anthropic_api_key.as_deref(), Endpoint::anthropic);
    let openai = endpoint(settings.openai_base_url.as_deref(), settings.openai_api_key.as_deref(), Endpoint::openai);
    tenure_models::Settings {
        anthropic,
        openai,
        scripts_dir: Some(scripts.to_owned()),
        stall: settings.model_stall,
        ..tenure_models::Settings::default()
    }
}

fn endpoint(base_url: Option<&str>, key: Option<&str>, own: fn(Secret) -> Endpoint) -> Option<Endpoint> {
    let key = key.map(Secret::new);
    match (base_url, key) {
        (None, None) => None,
        (None, Some(key)) => Some(own(key)),
        (Some(base_url), key) => Some(Endpoint { base_url: base_url.to_owned(), key }),
    }
}

/// Refuses a model server that is this server: it would ask itself for ever. It happens easily, since the same variable
/// points an SDK at Tenure.
pub(super) fn refuse_itself(models: &tenure_models::Settings, own: SocketAddr) -> Result<()> {
    let named = [("ANTHROPIC_BASE_URL", &models.anthropic), ("OPENAI_BASE_URL", &models.openai)];
    for (variable, endpoint) in named {
        let Some(endpoint) = endpoint else { continue };
        let (host, port) = endpoint.host_and_port().map_err(|failure| anyhow!("{variable}: {}", failure.message))?;
        if port == own.port() && is_here(&host, own.ip()) {
            return Err(advised(
                format!("{variable} is {}, which is this server itself: expected a model server", endpoint.base_url),
                format!("unset {variable} for the server, or set TENURE_{variable} to the model server"),
            ));
        }
    }
    Ok(())
}

fn is_here(host: &str, own: IpAddr) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified() || ip == own,
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use tenure_models::{Endpoint, Settings};

    use super::refuse_itself;

    #[test]
    fn this_server_is_no_model_server() {
        let own = "127.0.0.1:7717".parse().expect("an address");
        let refused = |base_url: &str| {
            let anthropic = Some(Endpoint { base_url: base_url.to_owned(), key: None });
            refuse_itself(&Settings { anthropic, ..Settings::default() }, own).is_err()
        };
        for itself in
            ["http://127.0.0.1:7717", "http://localhost:7717/", "http://[::1]:7717", "http://127.0.0.2:7717/v1"]
        {
            assert!(refused(itself), "{itself}");
        }
        for other in ["http://127.0.0.1:11434", "https://api.anthropic.com", "http://10.0.0.1:7717"] {
            assert!(!refused(other), "{other}");
        }
        assert!(refused("no url"));
    }
}
