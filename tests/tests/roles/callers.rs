//! The kinds of callers, from those who prove nothing to administrators.

use std::cell::RefCell;

use lectern_tests::http::Ask;

use crate::world::{Session, World};

/// What a caller presents.
#[derive(Debug)]
enum Credential<'a> {
    Nothing,
    Key(String),
    /// A program that a user allowed to act.
    Bearer(String),
    /// What a browser sends by itself: of the owner, as it is now.
    Cookie(&'a RefCell<Session>),
    /// The same with what only a client that signed in can send.
    CookieAndSecret(&'a RefCell<Session>),
}

/// A kind of caller.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    /// Its column.
    pub(crate) name: &'static str,
    /// Whether nothing that the routes are asked about is any of its business.
    pub(crate) unrelated: bool,
    credential: Credential<'a>,
}

impl Caller<'_> {
    /// The request with this caller's credential.
    pub(crate) fn present(&self, ask: Ask) -> Ask {
        match &self.credential {
            Credential::Nothing => ask,
            Credential::Key(key) => ask.key(key),
            Credential::Bearer(token) => ask.header("authorization", &format!("Bearer {token}")),
            Credential::Cookie(session) => ask.header("cookie", &session.borrow().cookie),
            Credential::CookieAndSecret(session) => {
                let session = session.borrow();
                ask.header("cookie", &session.cookie).header("x-rsc-xsrf", &session.secret)
            }
        }
    }
}

/// All kinds, in the order of the columns.
pub(crate) fn all(world: &World) -> Vec<Caller<'_>> {
    let caller = |name, unrelated, credential| Caller { name, unrelated, credential };
    let key = |key: &str| Credential::Key(key.to_owned());
    vec![
        caller("nobody", true, Credential::Nothing),
        caller("bad key", true, key("0123456789abcdefghijklmnopqrstuv")),
        caller("session", false, Credential::Cookie(&world.session)),
        caller("with secret", false, Credential::CookieAndSecret(&world.session)),
        caller("viewer", true, key(&world.viewer.key)),
        caller("publisher", true, key(&world.publisher.key)),
        // An administrator's, made for looking.
        caller("lesser key", true, key(&world.lesser_key(&world.admin))),
        // On the private item's list.
        caller("listed", false, key(&world.listed.key)),
        caller("collaborator", false, key(&world.collaborator.key)),
        // The owner's, made for looking.
        caller("own lesser", false, key(&world.lesser_key(&world.owner))),
        caller("own program", false, Credential::Bearer(world.program(&world.owner))),
        caller("themselves", false, key(&world.owner.key)),
        caller("admin", false, key(&world.admin.key)),
    ]
}
