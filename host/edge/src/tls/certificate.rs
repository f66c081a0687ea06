//! What a certificate says: whose it is, for which names and how long. Whether that is true is not decided here.

use std::fmt::Write as _;

use lectern_gate::ClientCertificate;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::name::rfc4514;

/// A certificate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

/// Reads what plugins are told of a client's certificate. Its size is bounded by the handshake, to 64 KiB with its chain.
pub(super) fn describe(der: &CertificateDer<'_>) -> Result<ClientCertificate, Unreadable> {
    let parsed = parse(der)?;
    // Two extensions with names, which is not allowed, are an error and not the first of them.
    let names = parsed.subject_alternative_name().map_err(|error| Unreadable(error.to_string()))?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let dns_names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Ok(ClientCertificate { sha256: sha256(der), subject: subject(&parsed)?, dns_names: dns_names.collect() })
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Unreadable> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(Unreadable("there are bytes after it".into())),
        Err(error) => Err(Unreadable(error.to_string())),
    }
}

fn subject(parsed: &X509Certificate<'_>) -> Result<String, Unreadable> {
    rfc4514(parsed.subject()).ok_or_else(|| Unreadable("its subject cannot be written".into()))
}

fn sha256(der: &[u8]) -> String {
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A certificate of ours, as logs and warnings name it.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub(super) subject: String,
    pub(super) sha256: String,
    /// Seconds since 1970, both included in its time.
    not_before: i64,
    not_after: i64,
}

impl Summary {
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let parsed = parse(der)?;
        let validity = parsed.validity();
        Ok(Self {
            subject: subject(&parsed)?,
            sha256: sha256(der),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// The last moment of its time.
    pub(super) fn until(&self) -> String {
        date(self.not_after)
    }

    /// Why nobody should accept it at `now`, in seconds since 1970.
    pub(super) fn untimely(&self, now: i64) -> Option<String> {
        if now > self.not_after {
            Some(format!("the certificate of {:?} expired at {}", self.subject, date(self.not_after)))
        } else if now < self.not_before {
            Some(format!("the certificate of {:?} is not valid before {}", self.subject, date(self.not_before)))
        } else {
            None
        }
    }
}

fn date(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|moment| moment.format(&Rfc3339).ok());
    moment.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "proxy");
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_says_whose_it_is() {
        let der = made(|params| {
            let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
            let name = |text: &str| SanType::DnsName(text.try_into().unwrap());
            params.subject_alt_names = vec![name("proxy.example.org"), address, name("*.Example.org")];
        });
        let seen = describe(&der).unwrap();
        assert!(seen.subject.starts_with("CN=proxy"), "{}", seen.subject);
        assert_eq!(seen.dns_names, ["proxy.example.org", "*.Example.org"], "names only, as they are");
        assert_eq!(seen.sha256, sha256(&der));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(describe(&made(|_| {})).unwrap().dns_names.is_empty());
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        let mut longer = made(|_| {}).to_vec();
        longer.push(0);
        for bytes in [vec![], b"nothing".to_vec(), longer.clone(), longer[..100].to_vec()] {
            assert!(describe(&CertificateDer::from(bytes)).is_err());
        }
    }

    #[test]
    fn a_certificate_has_its_time() {
        let der = made(|params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        let summary = Summary::of(&der).unwrap();
        let (first, last) = (1_577_836_800, 1_609_459_200);
        assert!(summary.untimely(first - 1).unwrap().contains("not valid before 2020-01-01T00:00:00Z"));
        assert_eq!((summary.untimely(first), summary.untimely(last)), (None, None));
        assert!(summary.untimely(last + 1).unwrap().contains("expired at 2021-01-01T00:00:00Z"));
        assert_eq!(summary.until(), "2021-01-01T00:00:00Z");
    }
}
