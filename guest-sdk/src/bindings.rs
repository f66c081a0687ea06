//! Generated from `wit/`: one module for what a plugin imports, one for each interface that it can export. The worlds are
//! put together here, so that a plugin exports the interfaces it implements and no others.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all)]

pub mod imports {
    wit_bindgen::generate!({ path: "../wit", world: "lectern:plugin/imports" });
}

macro_rules! exported {
    ($module:ident, $world:literal, $wit:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $wit,
                world: $world,
                pub_export_macro: true,
                with: { "lectern:plugin/types@0.1.1": crate::bindings::imports::lectern::plugin::types },
            });
        }
    };
}

exported!(lifecycle, "lectern:sdk/life", "package lectern:sdk; world life { export lectern:plugin/lifecycle@0.1.1; }");
exported!(routing, "lectern:sdk/routes", "package lectern:sdk; world routes { export lectern:plugin/routing@0.1.1; }");
exported!(auth, "lectern:sdk/auths", "package lectern:sdk; world auths { export lectern:plugin/auth@0.1.1; }");
exported!(pages, "lectern:sdk/hosts", "package lectern:sdk; world hosts { export lectern:plugin/pages@0.1.1; }");
