//! Who may ask what of what is another's: every route that the running server describes, against every kind of caller, as
//! one table; and a second one of objects asked for below somebody else's.
//!
//! The routes are those of the server's own OpenAPI document, so one that is added appears by itself; when an address names
//! a thing that `things.rs` cannot make, the test says so. `LECTERN_WRITE_TABLES=1` writes the answers down anew; what
//! changed is seen in the difference, and what must hold of every row is checked besides.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bodies;
mod callers;
mod crossed;
mod things;
mod world;

use std::fmt::Write as _;
use std::path::Path;

use callers::Caller;
use http::Method;
use lectern_tests::http::Reply;
use lectern_tests::server::Server;
use world::World;

/// Characters of the column of routes.
pub(crate) const WIDTH: usize = 66;

/// Routes that answer whoever asks.
const PUBLIC: &[&str] = &[
    "GET /.well-known/oauth-authorization-server",
    "GET /__api__/server_settings",
    // What is asked for here is a credential, or the refusal of one.
    "POST /__api__/__login__",
    "POST /__api__/oauth/device",
    "POST /__api__/oauth/register",
    "POST /__api__/oauth/revoke",
    "POST /__api__/oauth/token",
    "POST /__api__/tokens",
    "POST /__api__/v1/oauth/integrations/credentials",
];

/// Routes that make what proves who somebody is.
const MAKES_CREDENTIALS: &[&str] = &["POST /__api__/tokens/{id}/claim", "POST /__api__/v1/users/{guid}/keys"];

/// Reads a credential of its own, and is closed on a server that was not told to open it: 404 for all.
const BOOTSTRAP: &str = "POST /__api__/v1/experimental/bootstrap";

/// A method and the path that the document gives for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Route {
    /// Whether it only looks.
    pub(crate) fn reads(&self) -> bool {
        self.method == Method::GET
    }
}

/// All routes, by path and then by method; what takes something away comes after what looks at it.
pub(crate) fn routes(server: &Server) -> Vec<Route> {
    let document = server.get("/__api__/openapi.json").send().expect(200).json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.push(Route { method: method.to_uppercase().parse().unwrap(), path: path.clone() });
        }
    }
    let order = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    routes.sort_by_key(|route| {
        let place = order.iter().position(|method| *method == route.method.as_str()).unwrap();
        (route.path.clone(), place)
    });
    routes
}

/// Status and code of an answer, or the word of an OAuth error; `*` where it names the private item.
pub(crate) fn cell(world: &World, reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let code = match (&body["code"], &body["error"]) {
        _ if reply.status < 400 => String::new(),
        (serde_json::Value::Number(code), _) => format!("/{code}"),
        _ => String::new(),
    };
    let seen = if world.is_named_in(reply) { "*" } else { "" };
    format!("{}{code}{seen}", reply.status)
}

/// Compares a table with what is written down.
pub(crate) fn compare(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles").join(name);
    let table = table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
    if std::env::var_os("LECTERN_WRITE_TABLES").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<String> = (before.lines().filter(|line| !table.lines().any(|other| other == *line)))
        .map(|line| format!("- {line}"))
        .chain(table.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+ {line}")))
        .collect();
    let remedy = "look whether each answer is right, then write them down with LECTERN_WRITE_TABLES=1";
    assert!(before == table, "{} differs; {remedy}:\n{}", path.display(), changed.join("\n"));
}

/// What must hold of a row, whatever is written down.
fn judge(route: &Route, row: &[(&Caller, String)], wrong: &mut Vec<String>) {
    for (caller, cell) in row {
        let status: u16 = cell[..3].parse().unwrap();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{route} by {}: {cell}: {what}", caller.name));
            }
        };
        check(status < 500, "a failure of ours");
        check(!(caller.unrelated && cell.ends_with('*')), "an unrelated caller reads of the private item");
        if route.to_string() == BOOTSTRAP {
            check(status == 404, "is not opened");
            continue;
        }
        let public = PUBLIC.contains(&route.to_string().as_str());
        match caller.name {
            "nobody" if !public => check(cell == "401/24", "needs a credential"),
            "bad key" => check(cell == "401/30", "a bad credential is refused on every route"),
            "session" if !route.reads() => check(cell == "403/92", "a browser's session changes nothing"),
            "with secret" if !route.reads() && !route.path.ends_with("/users/{guid}/keys") => {
                check(cell == "403/92", "a client's session makes keys and changes nothing else");
            }
            // What a program is allowed ends; what it made would not.
            "own program" if MAKES_CREDENTIALS.contains(&route.to_string().as_str()) => {
                check(cell == "403/22", "makes none")
            }
            _ => {}
        }
    }
}

#[test]
fn each_route_against_each_caller() {
    let world = World::new();
    let mut wrong = Vec::new();
    let mut table = format!(
        "Status and code of each route, asked of what is the owner's; * where the answer names the owner's private item.\n\
         Made by tests/tests/roles: nobody edits it.\n\n{:<WIDTH$}",
        "route"
    );
    let callers = callers::all(&world);
    callers.iter().for_each(|caller| write!(table, "{:<14}", caller.name).unwrap());
    for route in routes(world.server()) {
        let mut row = Vec::new();
        let mut path = None;
        for caller in &callers {
            let filled = path.get_or_insert_with(|| things::filled(&world, &world.owner, &route)).clone();
            let ask = caller.present(world.server().ask(route.method.clone(), &filled));
            let reply = bodies::of(&world, &route, &filled).put(ask).send();
            let changed = reply.status < 300 && !route.reads();
            row.push((caller, cell(&world, &reply)));
            if changed {
                // Used up: the next caller asks of another one.
                path = None;
                world.restore(&route);
            }
        }
        write!(table, "\n{:<WIDTH$}", route.to_string()).unwrap();
        row.iter().for_each(|(_, cell)| write!(table, "{cell:<14}").unwrap());
        judge(&route, &row, &mut wrong);
    }
    println!("{table}");
    compare("roles.txt", &table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
