//! How TLS connections are made and whom they trust.
//!
//! One cryptography provider, ring, for the whole process (`reference/stack.md` §3.5). Trusted roots are Mozilla's, built
//! in, and the machine's own beside them: a bare Debian has no `ca-certificates`, where reqwest's default, the platform
//! verifier, would refuse to start; and a company's own root in `/etc/ssl`, or named by `SSL_CERT_FILE`, must work too.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// Makes ring the process's cryptography provider. Harmless when called again, or after somebody else chose one.
pub fn install_tls() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client side's settings. The machine's store is read once.
pub fn tls_config() -> ClientConfig {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        install_tls();
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let native = rustls_native_certs::load_native_certs();
        let (added, unreadable) = roots.add_parsable_certificates(native.certs);
        tracing::debug!(added, unreadable, errors = native.errors.len(), "machine's root certificates read");
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    });
    (**config).clone()
}
