//! What to do when a package cannot be built: most often a library of the system is missing.

/// What the output of a failed build says is missing, in words for the publisher and the administrator. `system` is the
/// package's own `SystemRequirements`.
pub(super) fn hint(output: &str, system: Option<&str>) -> Option<String> {
    let missing = output.lines().find_map(missing);
    let needs = system.map(|text| text.chars().take(300).collect::<String>());
    match (missing, needs) {
        (Some(missing), Some(needs)) => Some(format!(
            "{missing}. The package says that it needs of the system: {needs}. The server's administrator can install that"
        )),
        (Some(missing), None) => Some(format!("{missing}. The server's administrator can install what has it")),
        (None, Some(needs)) => Some(format!(
            "The package says that it needs of the system: {needs}. If that is what is missing, the server's administrator can install it"
        )),
        (None, None) => None,
    }
}

/// What one line says is missing.
fn missing(line: &str) -> Option<String> {
    let between = |start: &str, end: &str| {
        let rest = line.split_once(start)?.1;
        let name = rest.split_once(end).map_or(rest, |(name, _)| name).trim_matches([' ', '\'', '"', '‘', '’', '`']);
        (!name.is_empty() && name.len() <= 100).then(|| name.to_owned())
    };
    if let Some(name) = between("cannot find -l", ":") {
        let name = name.split_whitespace().next().unwrap_or(&name).to_owned();
        return Some(format!("A system library is missing: lib{name}"));
    }
    if line.contains("cannot open shared object file") {
        let name =
            line.split_whitespace().map(|word| word.trim_matches([':', '\'', '"'])).find(|word| word.contains(".so"));
        // R's own message names the package's file first, and the library that lacks after it.
        let library = line.rsplit_once(": cannot open").and_then(|(before, _)| before.rsplit([' ', ':']).next());
        return library.or(name).map(|name| format!("A system library is missing: {}", name.trim()));
    }
    if line.contains("No such file or directory") {
        let header = between("fatal error: ", ":").filter(|name| name.ends_with(".h") || name.ends_with(".hpp"));
        return header.map(|name| format!("A header of a system library is missing: {name}"));
    }
    if line.contains("Configuration failed") {
        return between("because ", " was not found").map(|name| format!("A system library is missing: {name}"));
    }
    if line.contains("command not found") || line.trim_end().ends_with(": not found") {
        let words: Vec<&str> = line.split(':').map(str::trim).collect();
        let at = words.iter().position(|word| word.ends_with("not found"))?;
        return words.get(at.checked_sub(1)?).map(|name| format!("A program is missing: {name}"));
    }
    if line.contains("there is no package called") {
        return between("there is no package called ", " and").map(|name| format!("An R package is missing: {name}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_say() {
        for (line, expected) in [
            ("wrap.c:3:10: fatal error: sodium.h: No such file or directory", "system library is missing: sodium.h"),
            ("/usr/bin/ld: cannot find -lsodium: No such file or directory", "library is missing: libsodium"),
            ("/usr/bin/ld: cannot find -lcurl", "library is missing: libcurl"),
            ("Configuration failed because libcurl was not found. Try installing:", "is missing: libcurl"),
            (
                "  libsodium.so.23: cannot open shared object file: No such file or directory",
                "system library is missing: libsodium.so.23",
            ),
            ("./configure: 12: pkg-config: not found", "A program is missing: pkg-config"),
            ("/bin/bash: gfortran: command not found", "A program is missing: gfortran"),
            ("Error : there is no package called ‘Rcpp’", "An R package is missing: Rcpp"),
        ] {
            let text = hint(&format!("gcc -c x.c\n{line}\nERROR"), None).unwrap_or_default();
            assert!(text.contains(expected), "{line}: {text:?} lacks {expected:?}");
        }
        assert_eq!(hint("all is well", None), None);
        let own = hint("configure: error", Some("GDAL (>= 2.0)")).unwrap_or_default();
        assert!(own.contains("needs of the system: GDAL (>= 2.0)"), "{own}");
    }
}
