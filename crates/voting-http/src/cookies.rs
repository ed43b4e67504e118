//! The cookies of a request.

use axum::http::{HeaderMap, header};

/// The cookies of a request, each as `NAME=VALUE`, without white space around it. Several `Cookie` headers count as one, as in
/// Envoy. Bytes, because cookies of others may be no text.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_of_any_bytes_and_of_several_headers_are_read() {
        let mut headers = HeaderMap::new();
        for value in [&b"a=\xc3\xa9\xff; b=1;c=2 "[..], b"d=\"3\""] {
            headers.append(header::COOKIE, HeaderValue::from_bytes(value).unwrap());
        }
        let cookies: Vec<_> = cookies(&headers).collect();
        assert_eq!(cookies, [&b"a=\xc3\xa9\xff"[..], b"b=1", b"c=2", b"d=\"3\""]);
    }
}
