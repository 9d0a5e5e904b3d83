//! Until when a client certificate of a kubeconfig is valid. An API server refuses one that has expired with the same word
//! as every other credential, "Unauthorized"; that it was its time can be seen here.

use ::kube::config::AuthInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;

/// The end of the client certificate's validity; none if there is none, or it can't be read: whoever needs it says so.
pub(super) fn ends(user: &AuthInfo) -> Option<Timestamp> {
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) if !data.is_empty() => STANDARD.decode(data.trim()).ok()?,
        (_, Some(path)) => std::fs::read(path).ok()?,
        _ => return None,
    };
    not_after(&first(std::str::from_utf8(&pem).ok()?)?)
}

/// The first certificate of a PEM file, the user's own: those who signed it follow.
fn first(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

/// Source: RFC 5280, 4.1: `SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber, signature, issuer,
/// validity SEQUENCE { notBefore, notAfter }, … } … }`.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    const VERSION: u8 = 0xa0;
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let certificate = element(der)?.content;
    let mut fields = element(certificate)?.content;
    let first = element(fields)?;
    if first.tag == VERSION {
        fields = first.rest;
    }
    for _ in ["serialNumber", "signature", "issuer"] {
        fields = element(fields)?.rest;
    }
    let times = element(fields)?.content;
    let end = element(element(times)?.rest)?;
    let text = std::str::from_utf8(end.content).ok().filter(|text| text.is_ascii())?;
    // YYMMDDhhmmssZ means the years 1950 to 2049 (4.1.2.5.1).
    let text = match end.tag {
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let (date, time) = text.split_at_checked(8)?;
    format!("{date}T{time}").parse().ok()
}

/// A DER element. Source: X.690, 8.1.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // So many bytes of length follow; more than three are of no certificate.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each made by `openssl ca -enddate`.
    const OF_2020: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjTCCATKgAwIBAgIUKnxyxtfTZTSpHPYBAERR/yN22LEwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwHhcNMjAwMTAxMDAwMDAwWhcNMjAwMTAyMDMwNDA1WjAY
MQowCAYDVQQKDAFvMQowCAYDVQQDDAFhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAEnS8gnZyZzAkDUjjqbCSUGEeodKjh0NxOzu34skIhW43FdPj2r6fvASrdS/E3
kkNlH7KuJqcICljxm2WoA78E3qNlMGMwDAYDVR0TAQH/BAIwADATBgNVHSUEDDAK
BggrBgEFBQcDAjAdBgNVHQ4EFgQUOSpNENp4e2Z62jVYkj5R6pYMomEwHwYDVR0j
BBgwFoAUAWEfpJtLGux4hvKPr0L5koELGj0wCgYIKoZIzj0EAwIDSQAwRgIhALbD
at9rzJf589CYiBMmrt57fh5+UfOwF2gh2BcMuE3gAiEArVvuBFKDFDQsqsvEPzx/
KiXsi58osf6wYL+Ia/BjsTU=
-----END CERTIFICATE-----
";
    const OF_2099: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjTCCATSgAwIBAgIUHoP06/x4otLph4I6bmDrYd1cjJswCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEyMzU5NTla
MBgxCjAIBgNVBAoMAW8xCjAIBgNVBAMMAWIwWTATBgcqhkjOPQIBBggqhkjOPQMB
BwNCAARp0RE+THmMrYn4YjWn+GPc5KTxVDBDDCA0f52IFb+29DPYusBz7CWEjhyT
8CWvzSKEkNYRTbBVV4MtYQaR/Xmno2UwYzAMBgNVHRMBAf8EAjAAMBMGA1UdJQQM
MAoGCCsGAQUFBwMCMB0GA1UdDgQWBBSOB4n8vfXdxv8qHoYFByjzF91WUDAfBgNV
HSMEGDAWgBQBYR+km0sa7HiG8o+vQvmSgQsaPTAKBggqhkjOPQQDAgNHADBEAiB3
rBOUd1jRvAsAsKuhFsssU4g8z5UdIV0h/aUVhXSNswIgIoWqevzLYRV0peTBn+d+
Ahq0a/CMSV8nh3xr5dQr/v4=
-----END CERTIFICATE-----
";

    fn end(pem: &str) -> Option<String> {
        let user = AuthInfo { client_certificate_data: Some(STANDARD.encode(pem)), ..AuthInfo::default() };
        ends(&user).map(|end| end.to_string())
    }

    #[test]
    fn the_end_of_a_certificate() {
        assert_eq!(end(OF_2020).as_deref(), Some("2020-01-02T03:04:05Z"));
        assert_eq!(end(OF_2099).as_deref(), Some("2099-12-31T23:59:59Z"), "a time of the other kind");
        assert_eq!(end(&format!("{OF_2020}{OF_2099}")).as_deref(), Some("2020-01-02T03:04:05Z"), "the user's own");
        assert_eq!(ends(&AuthInfo::default()), None);
    }

    #[test]
    fn what_is_no_certificate_is_somebody_else_s_to_refuse() {
        assert_eq!(end("hello"), None);
        assert_eq!(end("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), None);
        let der = first(OF_2020).expect("PEM");
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None, "cut at {length}");
        }
    }
}
