//! Which workers may come from a pre-forked interpreter, and how that one is started.

use std::collections::BTreeMap;

use lectern_domain::confinement::Walls;
use lectern_domain::launch::{Program, Zygote, ZygoteName, is_read_at_the_start, is_reserved_variable};

use crate::launch::{LaunchContext, text};
use crate::launchers::Launchers;

/// What R loads before it forks for a program; what these depend on comes with them.
fn r_packages(program: &Program) -> Option<[&'static str; 3]> {
    match program {
        Program::Plumber { .. } => Some(["plumber", "httpuv", "jsonlite"]),
        Program::Shiny { .. } => Some(["shiny", "httpuv", "jsonlite"]),
        _ => None,
    }
}

/// A publisher's files that R reads before anything else.
const R_BEGINS_WITH: [&str; 2] = [".Rprofile", ".Renviron"];

/// Variables that no interpreter reads and that may change without the version.
const NOT_NEEDED: [&str; 2] = ["CONNECT_CONTENT_JOB_KEY", "CONNECT_SERVER"];

/// Variables that name places of one run.
const PLACES: [&str; 2] = ["HOME", "TMPDIR"];

/// The launcher that a zygote loads for a program; `None` for one that must be started by itself.
fn launcher(program: &Program) -> Option<&'static str> {
    match program {
        Program::PythonAsgi { .. } => Some("lectern_asgi"),
        Program::PythonWsgi { .. } => Some("lectern_wsgi"),
        Program::Plumber { .. } => Some("lectern_plumber.R"),
        Program::Shiny { .. } => Some("lectern_shiny.R"),
        Program::PythonApp { .. }
        | Program::Engine { .. }
        | Program::RmdShiny { .. }
        | Program::QuartoShiny { .. }
        | Program::Node { .. }
        | Program::Static { .. } => None,
    }
}

/// Whether a program's launcher says that it listens.
pub(crate) fn notifies(program: &Program) -> bool {
    launcher(program).is_some()
}

/// The zygote of a worker that would be started with `argv`, `env` and the publisher's variables. `None` where the program has
/// none, or where a variable or file of the publisher's is read when an interpreter begins.
pub(crate) fn zygote(
    program: &Program,
    context: &LaunchContext<'_>,
    launchers: &Launchers,
    walls: &Walls,
    env: &BTreeMap<String, String>,
    argv: &[String],
) -> Option<Zygote> {
    let launcher = launcher(program)?;
    let mut chosen = context.variables.iter().map(|(name, _)| name).filter(|name| !is_reserved_variable(name));
    if chosen.any(|name| is_read_at_the_start(name)) {
        return None;
    }
    // R runs these when it begins, in the directory that it begins in.
    let packages = r_packages(program);
    if packages.is_some() && R_BEGINS_WITH.iter().any(|name| context.tree.join(name).exists()) {
        return None;
    }
    let interpreter = argv.first()?.clone();
    let argv = if let Some(packages) = packages {
        let file = format!("--file={}", text(&launchers.path("lectern_zygote.R")));
        // A small heap at first: its holes are the pages that workers write into, and cease to share.
        let options =
            [&interpreter, "--no-echo", "--no-save", "--no-restore", "--min-nsize=50k", &file, "--args", launcher];
        options.into_iter().chain(packages).map(str::to_owned).collect()
    } else {
        vec![interpreter, text(&launchers.path("lectern_zygote.py")), launcher.to_owned()]
    };
    let mut env = env.clone();
    env.retain(|name, _| !NOT_NEEDED.contains(&name.as_str()));
    Some(Zygote {
        name: name(context, walls, &env, &argv),
        argv,
        env: env.into_iter().collect(),
        // What is left is enough for a start without it.
        init_timeout: context.init_timeout / 2,
    })
}

/// Names a zygote by all that determines it: another walls, environment or launcher is another zygote.
fn name(context: &LaunchContext<'_>, walls: &Walls, env: &BTreeMap<String, String>, argv: &[String]) -> ZygoteName {
    let mut hash = blake3::Hasher::new();
    let mut add = |part: &str| {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    };
    add(&format!("{} {} {:?} {}", context.content, context.bundle, context.account, text(context.tree)));
    // Neither holds a secret, and their printed forms hold every field.
    add(&format!("{walls:?}"));
    for (name, value) in env.iter().filter(|(name, _)| !PLACES.contains(&name.as_str())) {
        add(name);
        add(value);
    }
    argv.iter().for_each(|argument| add(argument));
    ZygoteName(hash.finalize().to_hex()[..32].to_owned())
}
