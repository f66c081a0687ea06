//! Distinguished names as RFC 4514 writes them: the form in which operators name a proxy's certificate.
//!
//! `openssl x509 -noout -subject -nameopt RFC2253,-esc_msb` prints the same text for what certificates usually have.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag, ToDer as _};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Names of attribute types: those of RFC 4514 §3, and others that are registered for directories (RFC 4519) and common in
/// certificates. Any other type is written as its number, with its value in hexadecimal digits.
const TYPES: [(&str, &str); 20] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The name as text: the last part first, commas between parts, a plus between the attributes of one part. Their order is free; here
/// it is what openssl and nginx print, the last first. `None`: an attribute could not be written.
pub(super) fn rfc4514(name: &X509Name<'_>) -> Option<String> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (at, part) in parts.into_iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (at, attribute) in attributes.into_iter().rev().enumerate() {
            if at > 0 {
                text.push('+');
            }
            write_attribute(attribute, &mut text)?;
        }
    }
    Some(text)
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) -> Option<()> {
    let number = attribute.attr_type().to_id_string();
    let known = TYPES.iter().find(|(id, _)| *id == number).map(|(_, name)| *name);
    text.push_str(known.unwrap_or(&number));
    text.push('=');
    match known.and_then(|_| string(attribute.attr_value())) {
        Some(value) => escape(&value, text),
        None => {
            text.push('#');
            for byte in attribute.attr_value().to_der_vec().ok()? {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02X}");
            }
        }
    }
    Some(())
}

/// The characters of a string; `None` for other values, and for strings that are not what they say.
fn string(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// Writes a value with what would be read as something else escaped (RFC 4514 §2.4), control characters included.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(text, "\\{:02X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    fn subject(parts: Vec<(DnType, DnValue)>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        rfc4514(parsed.subject()).unwrap()
    }

    #[test]
    fn names_are_written_backwards_and_escaped() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let other = |id: &[u64]| DnType::CustomDnType(id.to_vec());
        let cases = [
            (vec![], ""),
            (vec![(DnType::CommonName, utf8("proxy"))], "CN=proxy"),
            (
                vec![
                    (DnType::CountryName, DnValue::PrintableString("CH".try_into().unwrap())),
                    (DnType::OrganizationName, utf8("Example, Inc.")),
                    (DnType::CommonName, utf8("proxy")),
                ],
                "CN=proxy,O=Example\\, Inc.,C=CH",
            ),
            (vec![(DnType::CommonName, utf8(" #x "))], "CN=\\ #x\\ "),
            (vec![(DnType::CommonName, utf8("#x"))], "CN=\\#x"),
            (vec![(DnType::CommonName, utf8(" "))], "CN=\\ "),
            (vec![(DnType::CommonName, utf8("a\"b+c;d<e>f\\g=h"))], "CN=a\\\"b\\+c\\;d\\<e\\>f\\\\g=h"),
            // Nothing in a name begins a new line in a log.
            (vec![(DnType::CommonName, utf8("a\nb\0\x7f"))], "CN=a\\0Ab\\00\\7F"),
            (vec![(DnType::CommonName, utf8("Grüße, 世界"))], "CN=Grüße\\, 世界"),
            (
                vec![(other(&[1, 2, 840, 113549, 1, 9, 1]), DnValue::Ia5String("a@b.example".try_into().unwrap()))],
                "emailAddress=a@b.example",
            ),
            (vec![(DnType::CommonName, DnValue::BmpString("Zoë".try_into().unwrap()))], "CN=Zoë"),
            // One whose name is not known is written in the form that no text of another can have.
            (
                vec![(other(&[1, 3, 6, 1, 4, 1, 99999, 1]), utf8("x,CN=admin"))],
                "1.3.6.1.4.1.99999.1=#0C0A782C434E3D61646D696E",
            ),
        ];
        for (parts, expected) in cases {
            assert_eq!(subject(parts), expected);
        }
    }
}
