//! Names of entries: taken apart into components that are safe to create, or refused.

use crate::limits::Limits;
use crate::unpack_error::UnpackError;

/// `NAME_MAX` of Linux file systems.
const MAX_COMPONENT_BYTES: usize = 255;

/// Characters of a hostile name that an error repeats.
const SHOWN_CHARACTERS: usize = 200;

/// A name as an error shows it: bytes that are not text replaced, cut to a readable length.
pub(crate) fn shown(name: &[u8]) -> String {
    // No character takes more than 4 bytes; the rest of an endless name is not looked at.
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN_CHARACTERS * 4)]);
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if shown.len() < name.len() && shown.chars().count() == SHOWN_CHARACTERS {
        shown.push('…');
    }
    shown
}

/// Takes a name apart. No component is empty, `.` or `..`; none at all means the root of the archive.
pub(crate) fn components<'a>(name: &'a [u8], limits: &Limits) -> Result<Vec<&'a str>, UnpackError> {
    let text = text(name)?;
    if text.starts_with('/') {
        return Err(UnpackError::Absolute { name: shown(name) });
    }
    if name.len() > limits.max_path_bytes {
        return Err(unrepresentable(name, "longer than a path may be"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    // Also where it would stay inside (`a/../b`): no client writes it, and readers differ when `a` is a link.
    if parts.contains(&"..") {
        return Err(UnpackError::Traversal { name: shown(name) });
    }
    if parts.iter().any(|part| part.len() > MAX_COMPONENT_BYTES) {
        return Err(unrepresentable(name, "a part is longer than 255 bytes"));
    }
    if parts.len() > limits.max_depth {
        return Err(UnpackError::TooDeep { name: shown(name), limit: limits.max_depth });
    }
    Ok(parts)
}

/// The target of a symbolic link, which may climb; where to is judged when the tree is complete.
pub(crate) fn link_target<'a>(name: &[u8], target: &'a [u8], limits: &Limits) -> Result<&'a str, UnpackError> {
    let target = text(target)?;
    if target.is_empty() {
        return Err(unrepresentable(name, "a link without a target"));
    }
    if target.len() > limits.max_path_bytes.min(4095) {
        return Err(unrepresentable(name, "a link target longer than a path may be"));
    }
    if target.starts_with('/') {
        return Err(UnpackError::LinkEscapes { name: shown(name), target: shown(target.as_bytes()) });
    }
    Ok(target)
}

/// UTF-8 without control characters: what the dashboard, logs, URLs and JSON can all say without changing it.
fn text(name: &[u8]) -> Result<&str, UnpackError> {
    let text = std::str::from_utf8(name).map_err(|_| unrepresentable(name, "not UTF-8"))?;
    if text.contains('\0') {
        return Err(unrepresentable(name, "has a NUL"));
    }
    if text.chars().any(char::is_control) {
        return Err(unrepresentable(name, "has a control character"));
    }
    Ok(text)
}

fn unrepresentable(name: &[u8], reason: &'static str) -> UnpackError {
    UnpackError::Unrepresentable { name: shown(name), reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn good_names() {
        let check = |name: &str, expected: &[&str]| {
            assert_eq!(components(name.as_bytes(), &Limits::default()).unwrap(), expected, "{name}");
        };
        check("", &[]);
        check(".", &[]);
        check("./", &[]);
        check("manifest.json", &["manifest.json"]);
        check("./manifest.json", &["manifest.json"]);
        check("a/", &["a"]);
        check("a//b/./c", &["a", "b", "c"]);
        check("...", &["..."]);
        check("a..b/ c ", &["a..b", " c "]);
        check("données/図.png", &["données", "図.png"]);
        check("a\\b", &["a\\b"]);
        check(&"x".repeat(255), &[&"x".repeat(255)]);
    }

    #[test]
    fn shown_names_are_short_and_text() {
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(shown(&[b'x'; 200]), "x".repeat(200));
        assert_eq!(shown(&[b'x'; 100_000]), format!("{}…", "x".repeat(200)));
        assert_eq!(shown(&"é".repeat(300).into_bytes()).chars().count(), 201);
    }
}
