//! A gate built from the frozen contract 0.1.0, without the SDK: what components of that time are to the host.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all)]

// A native build has no use for the exports, and linkers none for their names.
#[cfg(target_family = "wasm")]
mod component {
    wit_bindgen::generate!({ path: "../../../../wit/released/0.1.0", world: "lectern:plugin/gate" });

    use exports::lectern::plugin::{auth, lifecycle, pages, routing};
    use lectern::plugin::types::{Failure, Reply};
    use lectern::plugin::{config, content, directory, request};

    struct Component;

    impl lifecycle::Guest for Component {
        fn check() -> Result<(), Failure> {
            match config::get("refuse") {
                Some(why) => Err(Failure::Misconfigured(why)),
                None => Ok(()),
            }
        }
    }

    impl routing::Guest for Component {
        fn route() -> Result<routing::Decision, Failure> {
            Ok(match content::vanity() {
                Some(mount) => routing::Decision::Forward(routing::Forward {
                    target: format!("content:{}", mount.content),
                    rewrite: routing::Rewrite::StripSegments(mount.segments),
                    set_headers: vec![("x-from".into(), request::client_ip().into_bytes())],
                    remove_headers: Vec::new(),
                    sticky_key: None,
                    hints: Vec::new(),
                }),
                None => routing::Decision::Next,
            })
        }
    }

    impl auth::Guest for Component {
        fn authenticate() -> Result<auth::Outcome, Failure> {
            Ok(match request::header("x-key").first() {
                Some(key) => match directory::find_key(&String::from_utf8_lossy(key)) {
                    Some(identity) => auth::Outcome::Authenticated(identity),
                    None => auth::Outcome::Rejected("no such key".into()),
                },
                None => auth::Outcome::Abstain,
            })
        }
    }

    impl pages::Guest for Component {
        fn handle(body: Vec<u8>) -> Result<pages::Handled, Failure> {
            Ok(pages::Handled::Reply(Reply { status: 200, headers: Vec::new(), body }))
        }
    }

    export!(Component);
}
