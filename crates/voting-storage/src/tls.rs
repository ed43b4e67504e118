//! Errors of TLS, with the setting that decides.

/// The text of an error, with what is allowed if it is about a certificate. `off` is the setting that turns TLS off, and
/// `client` what is allowed where the server asks for a certificate of this client.
pub(crate) fn explain(error: &str, off: &str, client: &str) -> Option<String> {
    let allowed = if error.contains("UnsupportedCertVersion") {
        format!(
            "the server's certificate is of X.509 version 1; allowed: version 3, or {off} on a trusted network"
        )
    } else if error.contains("CaUsedAsEndEntity") {
        format!(
            "the server's own certificate is that of an authority (CA:TRUE), as `openssl req -x509` makes it; allowed: one with \
             CA:FALSE, which a trusted authority has signed, or {off} on a trusted network"
        )
    } else if error.contains("invalid peer certificate") {
        format!(
            "allowed: a certificate that this machine trusts for this host (SSL_CERT_FILE names a file with other authorities \
             than those of the system), or {off} on a trusted network"
        )
    } else if error.contains("CertificateRequired") {
        format!("the server asks for a certificate of this client; allowed: {client}")
    } else {
        return None;
    };
    Some(format!("{error}: {allowed}"))
}
