//! Tells a component from what is easily taken for one, by the first eight bytes.

/// What a file's first bytes say it is.
///
/// The magic number is followed by two bytes of version and two of layer: 0 is a core module, 1 a component
/// (<https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmKind {
    /// A component.
    Component,
    /// A core module.
    Module,
    /// WebAssembly of another layer or version.
    Unknown,
    /// No WebAssembly.
    None,
}

/// Looks at the first bytes only: whether the rest is valid is for who runs it to find out.
pub fn wasm_kind(bytes: &[u8]) -> WasmKind {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => WasmKind::Component,
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => WasmKind::Module,
        [0, b'a', b's', b'm', ..] => WasmKind::Unknown,
        _ => WasmKind::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells() {
        let cases: &[(&[u8], WasmKind)] = &[
            (b"\0asm\x0d\0\x01\0rest", WasmKind::Component),
            (b"\0asm\x01\0\0\0", WasmKind::Module),
            (b"\0asm\x0c\0\x01\0", WasmKind::Unknown),
            (b"\0asm", WasmKind::Unknown),
            (b"(component)", WasmKind::None),
            (b"", WasmKind::None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(wasm_kind(bytes), *expected, "{bytes:?}");
        }
    }
}
