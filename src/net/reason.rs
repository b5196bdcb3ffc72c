//! Turns OpenSSL's error texts into words for a person. It must never decide anything.

use std::fmt::Display;

/// What went wrong in a TLS handshake.
///
/// OpenSSL's texts look like `error:0A000086:SSL routines:f:certificate verify failed:file.c:2125: (expired)`:
/// the fifth part is the reason, and the last parentheses hold the outcome of the certificate check.
pub(super) fn tls_reason(error: impl Display) -> String {
    let text = error.to_string();
    let reason = openssl_reason(&text);
    match (reason, verify_result(&text)) {
        ("certificate verify failed", Some(why)) => format!("{reason}: {why}{}", remedy(why)),
        _ => format!("{reason}{}", remedy(reason)),
    }
}

fn openssl_reason(text: &str) -> &str {
    let Some((_, packed)) = text.split_once("error:") else { return text };
    packed.split(':').nth(3).unwrap_or(text)
}

fn verify_result(text: &str) -> Option<&str> {
    Some(text.strip_suffix(')')?.rsplit_once('(')?.1)
}

fn remedy(reason: &str) -> &'static str {
    match reason {
        "wrong version number" | "packet length too long" => {
            "; the other side does not speak TLS on this port"
        }
        "self-signed certificate"
        | "self-signed certificate in certificate chain"
        | "unable to get local issuer certificate"
        | "unable to get issuer certificate" => "; trust it by its CA file or its pin",
        "hostname mismatch" | "IP address mismatch" => "; the certificate is for another name",
        "certificate has expired" => "; renew it, or check the clock",
        "certificate is not yet valid" => "; check the clock",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::tls_reason;

    #[test]
    fn openssl_texts_become_words() {
        let verify = "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
                      failed:ssl/statem/statem_clnt.c:2125: (self-signed certificate)";
        assert_eq!(
            tls_reason(verify),
            "certificate verify failed: self-signed certificate; trust it by its CA file or its pin"
        );
        let plain = "error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:ssl/a.c:80:";
        assert_eq!(tls_reason(plain), "wrong version number; the other side does not speak TLS on this port");
        assert_eq!(tls_reason("unexpected EOF"), "unexpected EOF");
        assert_eq!(tls_reason("error:"), "error:");
    }
}
