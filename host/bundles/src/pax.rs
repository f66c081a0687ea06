//! The records of a pax extended header (POSIX.1-2017, pax, "pax Extended Header"): `length key=value\n`.

/// What a pax header says about the entry that follows. The last record of a key counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link_path: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// The entry is stored without its holes, in one of GNU's ways.
    pub(crate) sparse: bool,
}

impl Records {
    /// Reads the records. The error says what is wrong.
    pub(crate) fn parse(mut data: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        // Some writers fill up the block with NUL.
        while data.first().is_some_and(|byte| *byte != 0) {
            let (record, rest) = split_record(data).ok_or("pax record is malformed")?;
            data = rest;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("pax record has no value")?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => records.path = Some(value.to_vec()),
                b"linkpath" => records.link_path = Some(value.to_vec()),
                b"size" => records.size = Some(decimal(value).ok_or("pax size is not a number")?),
                _ if key.starts_with(b"GNU.sparse.") => records.sparse = true,
                // Times, owners, attributes, comments: nothing of them reaches the tree.
                _ => {}
            }
        }
        Ok(records)
    }

    /// Whether a global header may say this: it would rename or resize every entry.
    pub(crate) fn is_harmless(&self) -> bool {
        *self == Self::default()
    }
}

/// Splits `length key=value\n` off `data`; the length counts all of it, its own digits and the line feed too.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    Some((&data[space + 1..length - 1], &data[length..]))
}

fn decimal(text: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let path = |path: &str| Records { path: Some(path.into()), ..Records::default() };
        let check = |input: &[u8], expected: Result<Records, ()>| {
            assert_eq!(Records::parse(input).map_err(drop), expected, "{:?}", String::from_utf8_lossy(input));
        };
        check(b"", Ok(Records::default()));
        check(b"\0\0", Ok(Records::default()));
        check(b"9 path=a\n", Ok(path("a")));
        check(b"9 path=a\n9 path=b\n", Ok(path("b")));
        // A value may hold a line feed or an equals sign.
        check(b"11 path=a\nb\n", Err(()));
        check(b"12 path=a\nb\n", Ok(path("a\nb")));
        check(b"12 path=a=b\n", Ok(path("a=b")));
        check(b"14 linkpath=t\n", Ok(Records { link_path: Some(b"t".to_vec()), ..Records::default() }));
        check(b"11 size=12\n", Ok(Records { size: Some(12), ..Records::default() }));
        check(b"22 GNU.sparse.major=1\n", Ok(Records { sparse: true, ..Records::default() }));
        check(b"30 mtime=1700000000.123456789\n", Ok(Records::default()));
        for bad in [
            &b"size=1\n"[..],
            b"9path=a\n",
            b"-9 path=a\n",
            b"8 path=a\n",
            b"11 path=a\n",
            b"0 \n",
            b"2 \n",
            b"3 \n",
            b"5 abc\n",
            b"11 size=-2\n",
            b"11 size=+2\n",
            b"30 size=99999999999999999999999\n",
            b"99999999999999999999 path=a\n",
        ] {
            check(bad, Err(()));
        }
    }
}
