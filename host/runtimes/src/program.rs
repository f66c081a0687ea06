//! Checks that what a manifest wants to start is in the bundle.

use std::io;
use std::path::{Path, PathBuf};

use lectern_domain::launch::{Interpreter, Program};
use lectern_domain::manifest::{Entrypoint, Manifest, PythonEntrypoint};
use lectern_domain::{AppMode, PythonFramework};

use crate::python::Package;

use crate::interpreters;

/// A bundle cannot be started as its manifest says.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A document that has to be rendered first.
    #[error("this server does not render {what}: {remedy}")]
    Rendered {
        /// Which kind of documents.
        what: &'static str,
        /// How to publish it all the same.
        remedy: &'static str,
    },
    /// The manifest names no kind.
    #[error("metadata.appmode of manifest.json is {:?}, which is no kind of content", .0.as_str())]
    NoKind(AppMode),
    /// The manifest names a file that is not there.
    #[error("the manifest names {0:?} as its entry point, and the bundle has no such file")]
    NoFile(String),
    /// The manifest names a module that is not there.
    #[error("the manifest names the entry point {entrypoint:?}, and the bundle has neither {tried}")]
    NoModule {
        /// As in the manifest.
        entrypoint: String,
        /// The files that were looked for.
        tried: String,
    },
    /// The manifest names nothing and nothing usual is there.
    #[error("the manifest names no entry point, and the bundle has none of {0}")]
    NoDefault(&'static str),
    /// A `_server.yml` that does not say who runs it.
    #[error(
        "the bundle has a {0}, and its first level has no line like `engine: plumber2` that names an R package to run it"
    )]
    NoEngine(String),
    /// What the application is written with is not installed.
    #[error(
        "a {} application needs the Python package {package}, and {file} does not install it; add a line `{package}` to {file} and deploy again",
        framework.title()
    )]
    NoFramework {
        /// What it is written with.
        framework: PythonFramework,
        /// The package that is missing.
        package: &'static str,
        /// Where the publisher lists packages.
        file: String,
    },
    /// Nothing renders the document, and it was not rendered before.
    #[error(
        "the document {document:?} needs Quarto, which this server does not have: its administrator can unpack a release of Quarto in /opt/quarto (`lectern doctor` says what is found), or render the document before you publish, so that the bundle has {page:?}"
    )]
    NoQuarto {
        /// The document.
        document: String,
        /// The page it is rendered to.
        page: String,
    },
    /// No server for models.
    #[error(
        "TensorFlow models are served by TensorFlow Serving (tensorflow_model_server), which Lectern does not run: publish an API that loads the model instead, with `rsconnect deploy fastapi` and tensorflow in its requirements.txt"
    )]
    TensorFlow,
    /// Node.js runs TypeScript by itself from 22.18 on.
    #[error(
        "the entry point {entrypoint:?} is TypeScript, which Node.js {version} does not run by itself; 22.18 and later do: ask for one with environment.nodejs.requires, or publish JavaScript"
    )]
    TypeScript {
        /// As in the manifest.
        entrypoint: String,
        /// The version chosen.
        version: String,
    },
    /// The bundle could not be read.
    #[error("read {path:?}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Says how the bundle unpacked in `tree` is served.
///
/// `site_packages` are the restored packages, when there are any yet: an entry point may be a module of one of them. Before
/// they are restored, only what can never work is refused.
pub fn program(tree: &Path, manifest: &Manifest, site_packages: Option<&Path>) -> Result<Program, ProgramError> {
    match manifest.mode {
        AppMode::PythonFastapi => {
            python(tree, manifest, site_packages).map(|entrypoint| Program::PythonAsgi { entrypoint })
        }
        AppMode::PythonApi => {
            python(tree, manifest, site_packages).map(|entrypoint| Program::PythonWsgi { entrypoint })
        }
        AppMode::Api => api(tree, manifest),
        AppMode::Shiny => shiny(tree, manifest).map(|app| Program::Shiny { app }),
        AppMode::RmdShiny => document(tree, manifest, "Rmd").map(|document| Program::RmdShiny { document }),
        AppMode::QuartoShiny => {
            document(tree, manifest, "qmd").map(|document| Program::QuartoShiny { document, quarto: None })
        }
        AppMode::TensorflowSavedModel => Err(ProgramError::TensorFlow),
        AppMode::Nodejs => node(tree, manifest).map(|entrypoint| Program::Node { entrypoint }),
        AppMode::Static => page(tree, manifest).map(|primary| Program::Static { primary }),
        AppMode::JupyterStatic => Err(ProgramError::Rendered {
            what: "notebooks",
            remedy: "publish the page that it makes, with `rsconnect deploy notebook --static FILE.ipynb`, or the notebook as an application, with `rsconnect deploy voila FILE.ipynb`",
        }),
        AppMode::QuartoStatic => Err(ProgramError::Rendered {
            what: "Quarto documents",
            remedy: "render where you write it and publish what comes out, with `quarto publish connect`, or with `quarto render` and `rsconnect deploy html`",
        }),
        AppMode::RmdStatic => Err(ProgramError::Rendered {
            what: "R Markdown documents",
            remedy: "render where you write it, with rmarkdown::render(), and publish the page, with rsconnect::deployDoc(\"FILE.html\") or `rsconnect deploy html FILE.html`",
        }),
        mode => match PythonFramework::of(mode) {
            Some(framework) => {
                let entrypoint = match framework.file_endings() {
                    None => python(tree, manifest, site_packages)?,
                    Some(endings) => script(tree, manifest, framework, endings)?,
                };
                Ok(Program::PythonApp { framework, entrypoint })
            }
            None => Err(ProgramError::NoKind(mode)),
        },
    }
}

fn python(tree: &Path, manifest: &Manifest, site_packages: Option<&Path>) -> Result<String, ProgramError> {
    let Some(Entrypoint::Python(entrypoint)) = &manifest.entrypoint else { return default_module(tree) };
    let text = entrypoint.to_string();
    let relative = entrypoint.module().replace('.', "/");
    let is_module = |place: &Path| {
        let package = place.join(&relative);
        place.join(format!("{relative}.py")).is_file() || package.join("__init__.py").is_file()
    };
    if is_module(tree) {
        return Ok(text);
    }
    let top = relative.split('/').next().unwrap_or(&relative);
    let starts_here = |place: &Path| place.join(top).is_dir() || place.join(format!("{top}.py")).is_file();
    match site_packages {
        // Packages are a matter of the environment, compiled modules included: the import itself will tell.
        Some(packages) if !starts_here(tree) && installed(packages, top) => Ok(text),
        None if !starts_here(tree) => Ok(text),
        _ => {
            let tried = format!("{relative}.py nor {relative}/__init__.py");
            Err(ProgramError::NoModule { entrypoint: text, tried })
        }
    }
}

/// Whether a module or package `top` is among the installed ones, in whatever form.
fn installed(packages: &Path, top: &str) -> bool {
    let Ok(entries) = packages.read_dir() else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| name == top || name.strip_prefix(top).is_some_and(|rest| rest.starts_with('.')))
    })
}

/// The module the client would have guessed: `app`, `application`, `main`, `api`, or the only Python file there is.
fn default_module(tree: &Path) -> Result<String, ProgramError> {
    let candidates = ["app", "application", "main", "api"];
    if let Some(name) = candidates.into_iter().find(|name| tree.join(format!("{name}.py")).is_file()) {
        return Ok(name.to_owned());
    }
    let mut modules = names(tree)?.into_iter().filter_map(|name| name.strip_suffix(".py").map(str::to_owned));
    match (modules.next(), modules.next()) {
        (Some(only), None) if PythonEntrypoint::module_only(&only).is_ok() => Ok(only),
        _ => Err(ProgramError::NoDefault("app.py, application.py, main.py, api.py")),
    }
}

/// The file or directory that an application starts from, relative to the bundle: what the manifest names, which may lack its
/// ending or be written like a module.
fn script(
    tree: &Path,
    manifest: &Manifest,
    framework: PythonFramework,
    endings: &[&str],
) -> Result<String, ProgramError> {
    let Some(Entrypoint::File(named)) = &manifest.entrypoint else {
        return match framework {
            // Several notebooks: Voila lists them.
            PythonFramework::Voila => Ok(".".to_owned()),
            _ => default_module(tree).map(|module| format!("{module}.py")),
        };
    };
    let named = named.as_str();
    let mut tried = vec![named.to_owned()];
    if !endings.iter().any(|ending| named.ends_with(&format!(".{ending}"))) {
        tried.extend(endings.iter().map(|ending| format!("{named}.{ending}")));
        if named.contains('.') {
            let path = named.replace('.', "/");
            tried.extend(endings.iter().map(|ending| format!("{path}.{ending}")));
        }
    }
    let is_there = |path: &String| {
        let path = tree.join(path);
        // Only some know directories; the others would fail later and say less.
        path.is_file() || path.is_dir() && framework != PythonFramework::Streamlit
    };
    tried.iter().find(|path| is_there(path)).cloned().ok_or_else(|| {
        let last = tried.pop().unwrap_or_default();
        match tried.is_empty() {
            true => ProgramError::NoFile(last),
            false => ProgramError::NoModule {
                entrypoint: named.to_owned(),
                tried: format!("{} nor {last}", tried.join(", ")),
            },
        }
    })
}

/// Checks that what the application is written with is among the restored packages; `file` is where the publisher lists them.
pub(crate) fn check_framework(
    framework: PythonFramework,
    file: &str,
    installed: &[Package],
) -> Result<(), ProgramError> {
    let is_missing = |package: &&&str| !installed.iter().any(|installed| installed.name == **package);
    match framework.packages().iter().find(is_missing) {
        Some(package) => Err(ProgramError::NoFramework { framework, package, file: file.to_owned() }),
        None => Ok(()),
    }
}

/// A Plumber API, unless a `_server.yml` says that another engine runs it (the standard of `_server.yml`, which plumber2 began).
fn api(tree: &Path, manifest: &Manifest) -> Result<Program, ProgramError> {
    let names = names(tree)?;
    let Some(settings) = names.iter().find(|name| matches!(name.as_str(), "_server.yml" | "_server.yaml")) else {
        return plumber(tree, manifest, &names).map(|entrypoint| Program::Plumber { entrypoint });
    };
    let path = tree.join(settings);
    let text = std::fs::read_to_string(&path).map_err(|cause| ProgramError::Read { path, cause })?;
    let engine = engine(&text).ok_or_else(|| ProgramError::NoEngine(settings.clone()))?;
    Ok(Program::Engine { engine: engine.to_owned(), settings: settings.clone() })
}

/// The engine that a `_server.yml` names: the one key that the standard has. The rest is read by the engine.
fn engine(text: &str) -> Option<&str> {
    let value = text.lines().find_map(|line| line.strip_prefix("engine:"))?;
    let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    // What R allows as a package's name.
    let fits = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    fits.then_some(value)
}

fn plumber(tree: &Path, manifest: &Manifest, names: &[String]) -> Result<String, ProgramError> {
    if let Some(Entrypoint::File(file)) = &manifest.entrypoint {
        return if file.below(tree).is_file() {
            Ok(file.to_string())
        } else {
            Err(ProgramError::NoFile(file.to_string()))
        };
    }
    // Plumber looks for the same two, in this order, whatever their case.
    let usual = ["entrypoint.r", "plumber.r"];
    let found = usual.iter().find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual)));
    found.cloned().ok_or(ProgramError::NoDefault("plumber.R, entrypoint.R"))
}

/// What `shiny::runApp` is given: a file that is the whole application, or `.` for the usual names.
fn shiny(tree: &Path, manifest: &Manifest) -> Result<String, ProgramError> {
    let names = names(tree)?;
    let has = |wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    if let Some(Entrypoint::File(file)) = &manifest.entrypoint {
        if !file.below(tree).is_file() {
            return Err(ProgramError::NoFile(file.to_string()));
        }
        let usual = ["app.R", "server.R", "ui.R"].iter().any(|usual| file.as_str().eq_ignore_ascii_case(usual));
        return Ok(if usual { ".".to_owned() } else { file.to_string() });
    }
    let two = has("server.R") && (has("ui.R") || tree.join("www/index.html").is_file());
    if has("app.R") || two { Ok(".".to_owned()) } else { Err(ProgramError::NoDefault("app.R, server.R with ui.R")) }
}

/// The document of an interactive document: as named, `index` if there is one, or the only one.
fn document(tree: &Path, manifest: &Manifest, extension: &'static str) -> Result<String, ProgramError> {
    let named = manifest.primary_rmd.as_ref().or(match &manifest.entrypoint {
        Some(Entrypoint::File(file)) => Some(file),
        _ => None,
    });
    if let Some(file) = named {
        let there = file.below(tree).is_file();
        return if there { Ok(file.to_string()) } else { Err(ProgramError::NoFile(file.to_string())) };
    }
    let is_document = |name: &String| name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case(extension));
    let documents: Vec<String> = names(tree)?.into_iter().filter(is_document).collect();
    let index = documents.iter().find(|name| name.to_ascii_lowercase().starts_with("index."));
    match (index, documents.as_slice()) {
        (Some(index), _) => Ok(index.clone()),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(ProgramError::NoDefault("a document index, or a single one")),
    }
}

/// The file that the client would have guessed, in its order.
fn node(tree: &Path, manifest: &Manifest) -> Result<String, ProgramError> {
    if let Some(Entrypoint::File(file)) = &manifest.entrypoint {
        let there = file.below(tree).is_file();
        return if there { Ok(file.to_string()) } else { Err(ProgramError::NoFile(file.to_string())) };
    }
    let usual =
        ["app.js", "index.js", "server.js", "main.js", "app.ts", "index.ts", "server.ts", "main.ts"].into_iter();
    let found = usual.map(str::to_owned).find(|name| tree.join(name).is_file());
    found.ok_or(ProgramError::NoDefault("app.js, index.js, server.js, main.js, or .ts of these"))
}

/// Refuses an entry point that this Node.js does not run.
pub(crate) fn javascript(entrypoint: &str, interpreter: &Interpreter) -> Result<(), ProgramError> {
    let typescript = [".ts", ".mts", ".cts"].iter().any(|end| entrypoint.ends_with(end));
    if typescript && interpreters::is_before(&interpreter.version, (22, 18)) {
        let (entrypoint, version) = (entrypoint.to_owned(), interpreter.version.clone());
        return Err(ProgramError::TypeScript { entrypoint, version });
    }
    Ok(())
}

fn page(tree: &Path, manifest: &Manifest) -> Result<String, ProgramError> {
    let named = manifest.primary_html.as_ref().or(match &manifest.entrypoint {
        Some(Entrypoint::File(file)) => Some(file),
        _ => None,
    });
    match named {
        Some(file) if file.below(tree).is_file() => Ok(file.to_string()),
        Some(file) => Err(ProgramError::NoFile(file.to_string())),
        None => ["index.html", "index.htm"]
            .into_iter()
            .find(|name| tree.join(name).is_file())
            .map(str::to_owned)
            .ok_or(ProgramError::NoDefault("index.html, index.htm")),
    }
}

/// Names of the files in the bundle's root, sorted; those that are no text are left out.
fn names(tree: &Path) -> Result<Vec<String>, ProgramError> {
    let failed = |cause| ProgramError::Read { path: tree.to_owned(), cause };
    let mut names = Vec::new();
    for entry in tree.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().is_file()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn check(mode: &str, entrypoint: &str, files: &[&str], expected: &str) {
        let root = tempfile::tempdir().unwrap();
        let mut packages = None;
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            if file.starts_with("../") || file.starts_with("packages/") {
                packages = Some(root.path().join("packages"));
            }
        }
        let tree = root.path().join("tree");
        fs::create_dir_all(&tree).unwrap();
        let json = serde_json::json!({"metadata": {"appmode": mode, "entrypoint": entrypoint}}).to_string();
        let got = match program(&tree, &Manifest::parse(json.as_bytes()).unwrap(), packages.as_deref()) {
            Ok(Program::PythonAsgi { entrypoint }) => format!("asgi {entrypoint}"),
            Ok(Program::PythonWsgi { entrypoint }) => format!("wsgi {entrypoint}"),
            Ok(Program::PythonApp { framework, entrypoint }) => format!("{} {entrypoint}", framework.title()),
            Ok(Program::Plumber { entrypoint }) => format!("plumber {entrypoint}"),
            Ok(Program::Engine { engine, settings }) => format!("engine {engine} {settings}"),
            Ok(Program::Node { entrypoint }) => format!("node {entrypoint}"),
            Ok(Program::Shiny { app }) => format!("shiny {app}"),
            Ok(Program::QuartoShiny { document, .. }) => format!("qmd {document}"),
            Ok(Program::RmdShiny { document }) => format!("rmd {document}"),
            Ok(Program::Static { primary }) => format!("static {primary}"),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{mode} {entrypoint:?} {files:?}: {got:?} lacks {expected:?}");
    }

    #[test]
    fn python_modules() {
        check("python-fastapi", "app", &["tree/app.py"], "asgi app");
        check("python-api", "app:server", &["tree/app.py"], "wsgi app:server");
        check("python-fastapi", "pkg.main:api", &["tree/pkg/main.py"], "asgi pkg.main:api");
        check("python-fastapi", "pkg:api", &["tree/pkg/__init__.py"], "asgi pkg:api");
        check("python-fastapi", "src/app.py", &["tree/src/app.py"], "asgi src.app");
        check("python-fastapi", "pkg.main", &["tree/pkg/other.py"], "neither pkg/main.py nor pkg/main/__init__.py");
        check("python-fastapi", "", &["tree/main.py", "tree/util.py"], "asgi main");
        check("python-fastapi", "", &["tree/server.py", "tree/notes.txt"], "asgi server");
        check("python-fastapi", "", &["tree/a.py", "tree/b.py"], "none of app.py, application.py, main.py, api.py");
        // From a package: only known once the packages are there.
        check("python-fastapi", "lib.api:app", &["tree/requirements.txt"], "asgi lib.api:app");
        check("python-fastapi", "lib.api:app", &["packages/lib/api.py"], "asgi lib.api:app");
        check("python-fastapi", "fast:app", &["packages/fast.abi3.so"], "asgi fast:app");
        check("python-fastapi", "app", &["packages/apple/__init__.py"], "neither app.py nor app/__init__.py");
    }

    #[test]
    fn plumber_files() {
        check("api", "", &["tree/Plumber.r"], "plumber Plumber.r");
        check("api", "", &["tree/plumber.R", "tree/entrypoint.R"], "plumber entrypoint.R");
        check("api", "api/v1.R", &["tree/api/v1.R"], "plumber api/v1.R");
        check("api", "v1.R", &["tree/plumber.R"], "\"v1.R\" as its entry point");
        check("api", "", &["tree/app.R"], "none of plumber.R, entrypoint.R");
        check("api", "", &["tree/plumber.R", "tree/_server.yml"], "has a _server.yml, and its first level has no line");
    }

    #[test]
    fn engines_of_a_server_yml() {
        for (text, expected) in [
            ("engine: plumber2\nroutes: api.R\n", Some("plumber2")),
            ("# mine\noptions:\n  engine: other\nengine: 'my.engine' # that one\n", Some("my.engine")),
            ("engine:\n", None),
            ("engine: a; system('x')\n", None),
            ("engine: ../x\n", None),
            ("routes: api.R\n", None),
        ] {
            assert_eq!(engine(text), expected, "{text}");
        }
    }

    #[test]
    fn frameworks_start_from_modules_or_files() {
        check("python-dash", "app", &["tree/app.py"], "Dash app");
        check("python-gradio", "app:demo", &["tree/app.py"], "Gradio app:demo");
        check(
            "python-shiny",
            "shiny.express.app:app_2e_py",
            &["tree/app.py"],
            "Shiny for Python shiny.express.app:app_2e_py",
        );
        check("python-streamlit", "app", &["tree/app.py"], "Streamlit app.py");
        check("python-streamlit", "app.py", &["tree/app.py"], "Streamlit app.py");
        check("python-streamlit", "pages.start", &["tree/pages/start.py"], "Streamlit pages/start.py");
        check("python-streamlit", "", &["tree/main.py", "tree/util.py"], "Streamlit main.py");
        check("python-streamlit", "app", &["tree/app/x.py"], "\"app\", and the bundle has neither app nor app.py");
        check("python-bokeh", "sliders", &["tree/sliders/main.py"], "Bokeh sliders");
        check("python-bokeh", "app", &["tree/app.ipynb"], "Bokeh app.ipynb");
        check("python-panel", "app", &["tree/app.md"], "Panel app.md");
        check("jupyter-voila", "a b.ipynb", &["tree/a b.ipynb"], "Voila a b.ipynb");
        check("jupyter-voila", "", &["tree/a.ipynb", "tree/b.ipynb"], "Voila .");
        check(
            "jupyter-voila",
            "gone.ipynb",
            &["tree/a.ipynb"],
            "\"gone.ipynb\" as its entry point, and the bundle has no such file",
        );
    }

    #[test]
    fn a_missing_framework_is_named() {
        let installed = |names: &[&str]| -> Vec<Package> {
            names.iter().map(|name| Package { name: (*name).to_owned(), version: "1".into() }).collect()
        };
        let dash = check_framework(PythonFramework::Dash, "requirements.txt", &installed(&["dashing", "flask"]));
        assert_eq!(
            dash.unwrap_err().to_string(),
            "a Dash application needs the Python package dash, and requirements.txt does not install it; \
             add a line `dash` to requirements.txt and deploy again"
        );
        let voila = check_framework(PythonFramework::Voila, "uv.lock", &installed(&["voila"])).unwrap_err();
        assert!(voila.to_string().contains("package ipykernel, and uv.lock"), "{voila}");
        assert!(check_framework(PythonFramework::Panel, "requirements.txt", &installed(&["panel"])).is_ok());
    }

    #[test]
    fn pages_and_other_modes() {
        check("static", "report.html", &["tree/report.html"], "static report.html");
        check("static", "", &["tree/index.html"], "static index.html");
        check("static", "gone.html", &["tree/index.html"], "\"gone.html\"");
        check("static", "", &["tree/data.txt"], "none of index.html");
        check("rmd-static", "", &["tree/a.Rmd"], "does not render R Markdown documents: render where you write it");
        check("jupyter-static", "a.ipynb", &["tree/a.ipynb"], "`rsconnect deploy notebook --static FILE.ipynb`");
        check("quarto-static", "", &["tree/a.qmd"], "with `quarto publish connect`");
    }

    #[test]
    fn node_files() {
        check("nodejs", "src/server.js", &["tree/src/server.js"], "node src/server.js");
        check("nodejs", "", &["tree/main.js", "tree/server.js"], "node server.js");
        check("nodejs", "gone.js", &["tree/app.js"], "\"gone.js\" as its entry point");
        check("nodejs", "", &["tree/lib.js"], "none of app.js");
        let refused = |entrypoint, version: &str| {
            javascript(entrypoint, &Interpreter { path: "/n".into(), version: version.into() }).is_err()
        };
        assert!(refused("app.ts", "20.20.2") && refused("app.mts", "22.17.0"));
        assert!(!refused("app.ts", "22.18.0") && !refused("app.js", "20.20.2") && !refused("app.ts", "24.1.0"));
    }

    #[test]
    fn shiny_files() {
        check("shiny", "", &["tree/app.R"], "shiny .");
        check("shiny", "App.R", &["tree/App.R"], "shiny .");
        check("shiny", "", &["tree/server.r", "tree/ui.R"], "shiny .");
        check("shiny", "", &["tree/server.R", "tree/www/index.html"], "shiny .");
        check("shiny", "", &["tree/server.R"], "none of app.R, server.R with ui.R");
        check("shiny", "other.R", &["tree/other.R"], "shiny other.R");
        check("shiny", "gone.R", &["tree/app.R"], "\"gone.R\" as its entry point");
        check("rmd-shiny", "", &["tree/report.rmd"], "rmd report.rmd");
        check("rmd-shiny", "", &["tree/a.Rmd", "tree/Index.Rmd"], "rmd Index.Rmd");
        check("rmd-shiny", "", &["tree/a.Rmd", "tree/b.Rmd"], "none of a document index");
        check("quarto-shiny", "", &["tree/a.qmd", "tree/b.Rmd"], "qmd a.qmd");
        check("tensorflow-saved-model", "", &["tree/1/saved_model.pb"], "publish an API that loads the model");
        check("rmd-shiny", "sub/a.Rmd", &["tree/sub/a.Rmd", "tree/index.Rmd"], "rmd sub/a.Rmd");
    }
}
