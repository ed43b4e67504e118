//! Errors of TLS, with the setting that decides.

/// The text of an error, with what is allowed if it is about a certificate. `off` is the setting that turns TLS off.
pub(crate) fn explain(error: &str, off: &str) -> Option<String> {
    let allowed = if error.contains("UnsupportedCertVersion") {
        format!(
            "the server's certificate is of X.509 version 1; allowed: version 3, or {off} on a trusted network"
        )
    } else if error.contains("invalid peer certificate") {
        format!(
            "allowed: a certificate that this machine trusts for this host, or {off} on a trusted network"
        )
    } else {
        return None;
    };
    Some(format!("{error}: {allowed}"))
}
