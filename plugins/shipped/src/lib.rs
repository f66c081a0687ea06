//! The components that Lectern ships, as bytes. The build script compiles them from `plugins/` for `wasm32-wasip2`; the gate
//! loads them like any other component.

/// The parts of one plugin's package.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
    /// `plugin.toml`.
    pub manifest: &'static str,
    /// `config.schema.json`.
    pub schema: &'static str,
    /// `README.md`.
    pub readme: &'static str,
    /// Its self-tests: file names and texts.
    pub cases: &'static [(&'static str, &'static str)],
}

/// All plugins that Lectern ships.
pub const PACKAGES: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/packages.rs"));

/// Name and component of each plugin of the default gate, in the order in which they are asked.
pub const SHIPPED: &[(&str, &[u8])] = &[
    ("content-router", include_bytes!(concat!(env!("OUT_DIR"), "/content_router.wasm"))),
    ("api-key", include_bytes!(concat!(env!("OUT_DIR"), "/api_key.wasm"))),
    ("password-login", include_bytes!(concat!(env!("OUT_DIR"), "/password_login.wasm"))),
];

/// The shipped component of this name.
pub fn component(name: &str) -> Option<&'static [u8]> {
    PACKAGES.iter().find_map(|shipped| (shipped.name == name).then_some(shipped.component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_small_component() {
        assert!(SHIPPED.iter().all(|(name, bytes)| component(name) == Some(*bytes)));
        for Shipped { name, component: bytes, .. } in PACKAGES {
            // Magic and layer 1: a component, not a core module.
            assert!(bytes.starts_with(b"\0asm\x0d\0\x01\0"), "{name}");
            assert!(bytes.len() < 400 << 10, "{name} has {} bytes", bytes.len());
            assert_eq!(component(name).map(<[u8]>::len), Some(bytes.len()));
        }
        assert_eq!(component("other"), None);
    }
}
