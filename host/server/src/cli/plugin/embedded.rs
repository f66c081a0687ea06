//! What `build.rs` put into the binary: templates of projects, the sources of the SDK, the contract.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The contract's version, as interfaces are named with it: `0.1.1`.
pub(crate) fn contract_version() -> &'static str {
    let lines = WIT.iter().flat_map(|(_, text)| text.lines());
    lines.filter_map(|line| line.strip_prefix("package lectern:plugin@")?.strip_suffix(';')).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_and_the_sdk_are_whole() {
        assert!(contract_version().starts_with("0.1."));
        for file in ["lib.rs", "bindings.rs", "mock.rs"] {
            assert!(SDK.iter().any(|(name, _)| *name == file), "{file}");
        }
        assert_eq!(
            WIT.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["exports.wit", "imports.wit", "types.wit", "worlds.wit"]
        );
        assert!(VERSIONS.iter().all(|(_, version)| version.contains('.')), "{VERSIONS:?}");
    }
}
