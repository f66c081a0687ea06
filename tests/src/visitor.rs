//! Somebody who looks at content in a real browser.

use serde_json::{Value, json};

use crate::browser;
use crate::server::{Account, Server};

/// A person with an account and a browser.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    server: &'a Server,
    account: &'a Account,
}

impl<'a> Visitor<'a> {
    /// A visitor of `server`, who signs in as `account` where asked.
    pub fn new(server: &'a Server, account: &'a Account) -> Self {
        Self { server, account }
    }

    /// Opens `path`, signs in, and runs `script` as the rest of the function that [`browser::run`] describes, with `page`, `args` and
    /// the rest as `all`; answers what it returned.
    #[track_caller]
    pub fn uses(&self, path: &str, script: &str, args: &Value) -> Value {
        let whole = format!(
            "{}\nexport default async (all) => {{ const {{ page, args }} = all; await signIn(all);\n{script}\n}};",
            include_str!("../browser/sign_in.mjs")
        );
        let mut all = json!({
            "url": format!("{}{path}", self.server.url()), "name": self.account.name, "password": self.account.password,
        });
        if let (Some(all), Some(more)) = (all.as_object_mut(), args.as_object()) {
            all.extend(more.clone());
        }
        browser::run(&whole, &all)
    }
}
