//! Runs cases, one after another: each in a world of its own, all on the same compiled component.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use lectern_domain::plugin::Phase;
use lectern_gate::{Backend, Chain, Compiler, EngineError, Forward, Gate, LoadError, Release, Rewrite, TargetView};
use lectern_packages::Package;
use lectern_packages::cases::{Answer, Case, CaseHook, FailureKind, Outcome, World, compare};
use serde_json::Map;
use tracing::instrument::WithSubscriber as _;

use crate::admission::{self, Admission};
use crate::candidate::Candidate;
use crate::log::Lines;
use crate::network::Calls;
use crate::outcome::{self, Answered};
use crate::request;
use crate::result::{CaseResult, Verdict};
use crate::stage;

/// Why a package cannot be tried at all.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The engine cannot start here.
    #[error("start a gate for trials")]
    Engine(#[from] EngineError),
    /// The component cannot be loaded, whatever its configuration is. The cause says what to change.
    #[error("load the component")]
    Load(#[source] LoadError),
}

/// A gate for trials. Its engines are its own: what is tried takes nothing from what serves.
pub struct Trials {
    gate: Gate,
}

/// Runs the cases that `wanted` picks, in a gate made for them.
pub async fn run_cases(
    compiler: Compiler,
    package: &Package,
    wanted: impl Fn(&Case) -> bool,
) -> Result<Vec<CaseResult>, TrialError> {
    Trials::start(compiler)?.run(package, wanted, |_| {}).await
}

impl Trials {
    /// Starts the engine.
    pub fn start(compiler: Compiler) -> Result<Self, EngineError> {
        let (backend, _) = stage::set(&Arc::new(World::default()));
        let (gate, _) = Gate::start(backend, compiler)?;
        Ok(Self { gate })
    }

    /// Whether a server would admit the package: the contract is one that is spoken here, what the component imports is asked for,
    /// it compiles, it exports what the manifest names, and its check accepts the configuration that is in force where the operator
    /// sets none.
    pub async fn admit(&self, package: &Package) -> Admission {
        let mut admission = Admission::default();
        admission.findings.extend(admission::contract(&package.manifest));
        let candidate = Candidate::new(package);
        let (config, lacks) = match candidate.config(&Map::new()) {
            Ok(config) => (config, None),
            Err(error) => (package.manifest.config.clone(), Some(error.to_string())),
        };
        let loaded = candidate.load(&self.gate, candidate.spec(config, None)).await;
        match admission::judge(&package.manifest, lacks, loaded) {
            Ok(judged) => {
                admission.findings.extend(judged.findings);
                admission.notes.extend(judged.notes);
            }
            Err(error) => admission.findings.push(admission::told(&error)),
        }
        if package.cases.is_empty() {
            admission.notes.push("it has no cases: nothing shows what it does".into());
        }
        admission
    }

    /// Runs the cases that `wanted` picks, in the order of their files; `each` is told every result as it comes. May be dropped at
    /// any point.
    pub async fn run(
        &self,
        package: &Package,
        wanted: impl Fn(&Case) -> bool,
        mut each: impl FnMut(&CaseResult),
    ) -> Result<Vec<CaseResult>, TrialError> {
        let candidate = Candidate::new(package);
        let mut results = Vec::new();
        for case in package.cases.iter().filter(|case| wanted(case)) {
            let result = self.run_one(&candidate, case).await?;
            each(&result);
            results.push(result);
        }
        Ok(results)
    }

    async fn run_one(&self, candidate: &Candidate<'_>, case: &Case) -> Result<CaseResult, TrialError> {
        let began = Instant::now();
        let world = Arc::new(case.world.clone());
        let (backend, network) = stage::set(&world);
        let lines = Lines::default();
        let answered = self.answer(candidate, case, backend).with_subscriber(lines.subscriber()).await?;
        let (logs, asked) = lines.taken();
        let verdict = match answered {
            Err(why) => Verdict::NotRun(why),
            Ok(answer) => {
                let Calls { made: outbound, unanswered } = network.calls();
                let outcome = Outcome { answer, logs: logs.clone(), outbound, unanswered, asked: Some(asked.clone()) };
                let differences = compare(&case.expect, &outcome);
                if differences.is_empty() { Verdict::Passed } else { Verdict::Differs(differences) }
            }
        };
        Ok(CaseResult { file: case.file.clone(), name: case.name.clone(), verdict, logs, asked, took: began.elapsed() })
    }

    /// Asks the component.
    async fn answer(&self, candidate: &Candidate<'_>, case: &Case, backend: Backend) -> Result<Answered, TrialError> {
        // Nobody reads what bindings do by themselves: each lives for one call.
        let (gate, _) = self.gate.with_backend(backend);
        let config = match candidate.config(&case.config) {
            Ok(config) => config,
            Err(error) if case.hook == CaseHook::Check => {
                return Ok(Ok(Answer::Failed(FailureKind::Misconfigured, error.to_string())));
            }
            Err(error) => return Ok(Err(format!("its configuration does not fit config.schema.json: {error}"))),
        };
        let spec = candidate.spec(config, Some(case));
        let loaded =
            if case.hook == CaseHook::Check { gate.load(spec).await } else { candidate.load(&gate, spec).await };
        let release = match loaded {
            Ok(_) if case.hook == CaseHook::Check => return Ok(Ok(Answer::Accepted)),
            Ok(release) => release,
            Err(LoadError::Check { cause, .. }) if case.hook == CaseHook::Check => return Ok(outcome::failed(&cause)),
            Err(LoadError::Check { cause, .. }) => {
                return Ok(Err(format!("its configuration is refused by the plugin's own check: {cause}")));
            }
            Err(error) => return Err(TrialError::Load(error)),
        };
        Ok(ask(&gate, &release, case).await)
    }
}

/// Makes the call of a case.
async fn ask(gate: &Gate, release: &Arc<Release>, case: &Case) -> Answered {
    let head = Arc::new(request::head(case)?);
    let target = Arc::new(request::target(case));
    let phase = match case.hook {
        CaseHook::Route => Phase::Route,
        CaseHook::Select => Phase::Select,
        CaseHook::Authenticate => Phase::Authenticate,
        // Pages are found by name, in whatever phase the plugin stands.
        CaseHook::Page | CaseHook::Check if release.routes() => Phase::Route,
        CaseHook::Page | CaseHook::Check => Phase::Authenticate,
    };
    let chain = Chain::of([(phase, Arc::clone(release))]).map_err(|error| error.to_string())?;
    match case.hook {
        CaseHook::Route => outcome::routed(gate.route(&chain, &head).await),
        CaseHook::Select => {
            let visitor = request::visitor(case).map(Arc::new);
            let forward = Arc::new(untouched(&target));
            outcome::selected(gate.select(&chain, &head, &target, visitor.as_ref(), forward).await)
        }
        CaseHook::Authenticate => outcome::authenticated(gate.authenticate(&chain, &head, &target).await),
        CaseHook::Page => {
            let body = Bytes::from(case.request.body.clone());
            outcome::paged(gate.page(&chain, release.name(), &head, body).await)
        }
        CaseHook::Check => Ok(Answer::Accepted),
    }
}

/// What was decided before the phase select: the target, and nothing more.
fn untouched(target: &TargetView) -> Forward {
    Forward {
        plugin: "case".into(),
        target: target.target,
        rewrite: Rewrite::Keep,
        bundle: None,
        selected: None,
        hints: Vec::new(),
        set_headers: HeaderMap::new(),
        remove_headers: Vec::new(),
        sticky_key: None,
    }
}
