//! The components that Lectern ships, as bytes. The build script compiles them from `plugins/` for `wasm32-wasip2`; the gate
//! loads them like any other component.

/// Name and component of each shipped plugin.
pub const SHIPPED: &[(&str, &[u8])] = &[
    ("content-router", include_bytes!(concat!(env!("OUT_DIR"), "/content_router.wasm"))),
    ("api-key", include_bytes!(concat!(env!("OUT_DIR"), "/api_key.wasm"))),
    ("password-login", include_bytes!(concat!(env!("OUT_DIR"), "/password_login.wasm"))),
];

/// The shipped component of this name.
pub fn component(name: &str) -> Option<&'static [u8]> {
    SHIPPED.iter().find_map(|(shipped, bytes)| (*shipped == name).then_some(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_small_component() {
        for (name, bytes) in SHIPPED {
            // Magic and layer 1: a component, not a core module.
            assert!(bytes.starts_with(b"\0asm\x0d\0\x01\0"), "{name}");
            assert!(bytes.len() < 400 << 10, "{name} has {} bytes", bytes.len());
            assert_eq!(component(name).map(<[u8]>::len), Some(bytes.len()));
        }
        assert_eq!(component("other"), None);
    }
}
