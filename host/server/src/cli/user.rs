//! `lectern user`: accounts of a running server.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{ServerArgs, table};
use crate::admin::protocol::{AddUser, ChangeUser, UserView};

#[derive(Debug, Subcommand)]
pub(super) enum UserVerb {
    /// Add an account.
    Add(AddArgs),
    /// List accounts.
    List(ListArgs),
    /// Change what an account may do.
    SetRole(SetRoleArgs),
    /// Set an account's password.
    SetPassword(SetPasswordArgs),
    /// Lock an account: it can no longer sign in, and its keys stop working.
    Lock(NameArgs),
    /// Unlock an account.
    Unlock(NameArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Viewer,
    Publisher,
    Administrator,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Administrator => "administrator",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// 3 to 64 letters, digits, `.`, `_`, `-`, `@`.
    name: String,
    /// What the account may do.
    #[arg(long, default_value = "viewer")]
    role: Role,
    #[arg(long, default_value = "")]
    email: String,
    #[arg(long, default_value = "")]
    first_name: String,
    #[arg(long, default_value = "")]
    last_name: String,
    /// Read the password from the first line of standard input. Without it the account can use API keys only.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetRoleArgs {
    name: String,
    role: Role,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetPasswordArgs {
    name: String,
    /// Read the password from the first line of standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(verb: UserVerb) -> anyhow::Result<()> {
    match verb {
        UserVerb::Add(args) => {
            let password = if args.password_stdin { Some(read_password()?) } else { None };
            let body = AddUser {
                username: args.name,
                role: args.role.as_str().to_owned(),
                email: args.email,
                first_name: args.first_name,
                last_name: args.last_name,
                password,
            };
            let user: UserView = args.server.call("/users/add", &body)?;
            say(args.server.json, &user, &format!("added {} {}", user.role, user.username))
        }
        UserVerb::List(args) => {
            let users: Vec<UserView> = args.server.call("/users/list", &json!({}))?;
            if args.server.json {
                say!("{:#}", serde_json::to_value(&users)?);
                return Ok(());
            }
            let rows: Vec<Vec<String>> = users
                .into_iter()
                .map(|user| {
                    let state = if user.locked { "locked" } else { "active" };
                    vec![user.username, user.role, state.to_owned(), user.guid, user.email]
                })
                .collect();
            table(&["NAME", "ROLE", "STATE", "GUID", "EMAIL"], &rows);
            Ok(())
        }
        UserVerb::SetRole(args) => {
            let role = args.role.as_str();
            change(
                &args.server,
                ChangeUser { role: Some(role.into()), ..ChangeUser::of(&args.name) },
                "role changed of",
            )
        }
        UserVerb::SetPassword(args) => {
            let password = if args.password_stdin { read_password()? } else { ask_password(&args.name)? };
            change(
                &args.server,
                ChangeUser { password: Some(password), ..ChangeUser::of(&args.name) },
                "password set of",
            )
        }
        UserVerb::Lock(args) => {
            change(&args.server, ChangeUser { locked: Some(true), ..ChangeUser::of(&args.name) }, "locked")
        }
        UserVerb::Unlock(args) => {
            change(&args.server, ChangeUser { locked: Some(false), ..ChangeUser::of(&args.name) }, "unlocked")
        }
    }
}

fn change(server: &ServerArgs, body: ChangeUser, done: &str) -> anyhow::Result<()> {
    let user: UserView = server.call("/users/change", &body)?;
    say(server.json, &user, &format!("{done} {}", user.username))
}

fn say(json: bool, value: &impl serde::Serialize, text: &str) -> anyhow::Result<()> {
    if json {
        let value: Value = serde_json::to_value(value)?;
        say!("{value:#}");
    } else {
        say!("{text}");
    }
    Ok(())
}

/// Reads one line as the password.
fn read_password() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the password")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

/// Asks at the terminal, without echo.
fn ask_password(name: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("standard input is no terminal: pipe the password in and use --password-stdin");
    }
    let password = rpassword::prompt_password(format!("New password for {name}: ")).context("read the password")?;
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}
