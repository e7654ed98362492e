//! How the command line makes TLS connections: as the model clients do, with Mozilla's roots and the machine's own, so
//! that it works on a bare system. Reading them takes milliseconds, so it is done only when TLS is used.

use rustls::{ClientConfig, RootCertStore};

pub(crate) fn client_config(is_used: bool) -> ClientConfig {
    tenure_models::install_tls();
    let mut roots = RootCertStore::empty();
    if is_used {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}
