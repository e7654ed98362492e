//! Which hosts an agent may fetch from, by name.

/// Whether the host is this domain or below it. Neither case nor a dot at the end counts.
pub(super) fn is_under(host: &str, domain: &str) -> bool {
    let (host, domain) = (plain(host), plain(domain));
    !domain.is_empty() && (host == domain || host.strip_suffix(&domain).is_some_and(|above| above.ends_with('.')))
}

fn plain(name: &str) -> String {
    let name = name.trim_end_matches('.');
    // As in an address, a name of another script is compared in its one form for the network.
    match url::Host::parse(name) {
        Ok(host) => host.to_string(),
        Err(_) => name.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_under;

    #[test]
    fn a_domain_holds_itself_and_what_is_below() {
        for (host, domain) in [
            ("example.com", "example.com"),
            ("docs.example.com", "example.com"),
            ("Docs.Example.COM.", "example.com"),
            ("example.com", "EXAMPLE.com."),
            ("xn--mnchen-3ya.de", "münchen.de"),
        ] {
            assert!(is_under(host, domain), "{host} {domain}");
        }
        for (host, domain) in [
            ("badexample.com", "example.com"),
            ("example.com.evil.net", "example.com"),
            ("com", "example.com"),
            ("a.b", ""),
        ] {
            assert!(!is_under(host, domain), "{host} {domain}");
        }
    }
}
