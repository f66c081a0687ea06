//! Changes of bindings: each release is made ready here before anybody is switched to it, then one transaction changes the
//! database, and this server shows it before it answers.

use std::sync::Arc;

use lectern_domain::plugin::{
    Binding, BindingName, BindingSettings, BindingSpec, Candidate, CandidateMode, Change, Document, Grants, PluginName,
    ReleaseHash, ReleaseSpec, Share,
};
use lectern_metadata::DbError;
use lectern_metadata::plugins::{Note, bindings, packages, releases, shadow};
use serde::Serialize;

use super::converge::Converged;
use super::{
    BindRequest, CanaryRequest, Expect, Plugins, Refused, ReleaseRequest, SettingsRequest, ShadowRequest, SwapRequest,
};

/// A change that was carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    /// The binding as it is now.
    pub(crate) binding: Binding,
    /// The release that was live before, where that changed.
    pub(crate) before: Option<ReleaseHash>,
    /// The binding as it was before; none: it is new.
    pub(crate) was: Option<Binding>,
    /// This server shows it.
    pub(crate) shown: Converged,
}

impl Plugins {
    /// Binds a plugin.
    pub(crate) async fn bind(&self, request: BindRequest, note: &Note) -> Result<Changed, Refused> {
        let plugin = request.plugin;
        let name = match request.name {
            Some(name) => name,
            None => plugin.as_str().parse().map_err(|_| Refused::Request(format!("{plugin} is no name")))?,
        };
        let spec = self.specify(&plugin, None, request.release).await?;
        let package = self.package(spec.package).await?;
        let usual = BindingSettings {
            phases: package.manifest.defaults.phases.clone(),
            position: package.manifest.defaults.order,
            matcher: lectern_domain::plugin::Matcher::default(),
            on_failure: package.manifest.defaults.on_failure,
            budget: lectern_domain::plugin::Budget::default(),
            enabled: true,
        };
        let settings = with(usual, request.settings);
        check_phases(&settings, &package.manifest.hooks)?;
        self.ready(&name, &spec).await?;
        let binding = BindingSpec { name, plugin, settings };
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        let release = releases::create(&tx, &spec, &note.actor).await?;
        let binding = bindings::bind(&tx, &binding, release.hash, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        drop(client);
        self.shown(binding, None).await
    }

    /// Takes a binding away.
    pub(crate) async fn unbind(&self, name: &BindingName, expect: Expect, note: &Note) -> Result<Changed, Refused> {
        let revision = self.revision(name, expect).await?;
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        let binding = bindings::unbind(&tx, name, revision, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        drop(client);
        self.shown(binding, None).await
    }

    /// Makes another release the live one.
    pub(crate) async fn swap(&self, name: &BindingName, request: SwapRequest, note: &Note) -> Result<Changed, Refused> {
        let binding = self.binding(name).await?;
        let revision = request.expect.revision.unwrap_or(binding.revision);
        let nothing_asked = is_empty(&request.release);
        let spec = match &binding.releases.candidate {
            Some(candidate) if nothing_asked => self.release_spec(candidate.release).await?,
            None if nothing_asked => {
                return Err(Refused::Request(format!(
                    "swap {name} to what? Give a version, a configuration, grants or a release, or offer a candidate first"
                )));
            }
            Some(_) | None => self.specify(&binding.spec.plugin, Some(&binding), request.release).await?,
        };
        if let Some(most) = request.require_shadow {
            self.check_shadow(&binding, spec.hash(), most).await?;
        }
        self.ready(name, &spec).await?;
        self.change(name, revision, Some(&spec), Change::Swap(spec.hash()), note).await
    }

    /// Goes back to the release before.
    pub(crate) async fn roll_back(&self, name: &BindingName, expect: Expect, note: &Note) -> Result<Changed, Refused> {
        let binding = self.binding(name).await?;
        if let Some(previous) = binding.releases.previous {
            // It may have been given up by itself, and is not loaded then.
            self.ready(name, &self.release_spec(previous.release).await?).await?;
        }
        self.change(name, expect.revision.unwrap_or(binding.revision), None, Change::Rollback, note).await
    }

    /// Lets a candidate see copies of requests.
    pub(crate) async fn offer_shadow(
        &self,
        name: &BindingName,
        request: ShadowRequest,
        note: &Note,
    ) -> Result<Changed, Refused> {
        self.offer(name, request.release, request.expect, CandidateMode::Shadow, note).await
    }

    /// Lets a candidate answer for some.
    pub(crate) async fn offer_canary(
        &self,
        name: &BindingName,
        request: CanaryRequest,
        note: &Note,
    ) -> Result<Changed, Refused> {
        let share = Share { per_ten_thousand: request.per_ten_thousand, users: request.users };
        if share.per_ten_thousand > 10_000 {
            return Err(Refused::Request("a share is at most 100 %".into()));
        }
        if share.per_ten_thousand == 0 && share.users.is_empty() {
            return Err(Refused::Request("a canary that nobody gets: give a share or users".into()));
        }
        self.offer(name, request.release, request.expect, CandidateMode::Canary(share), note).await
    }

    async fn offer(
        &self,
        name: &BindingName,
        release: ReleaseRequest,
        expect: Expect,
        mode: CandidateMode,
        note: &Note,
    ) -> Result<Changed, Refused> {
        let binding = self.binding(name).await?;
        let spec = match &binding.releases.candidate {
            // The same candidate in another way: from the shadow to a few visitors.
            Some(candidate) if is_empty(&release) => self.release_spec(candidate.release).await?,
            Some(_) | None => self.specify(&binding.spec.plugin, Some(&binding), release).await?,
        };
        if spec.hash() == binding.releases.live {
            return Err(Refused::Request("the candidate is the live release: there is nothing to try".into()));
        }
        self.ready(name, &spec).await?;
        let change = Change::Offer(Candidate { release: spec.hash(), mode });
        self.change(name, expect.revision.unwrap_or(binding.revision), Some(&spec), change, note).await
    }

    /// Ends a trial without a change.
    pub(crate) async fn withdraw(&self, name: &BindingName, expect: Expect, note: &Note) -> Result<Changed, Refused> {
        let revision = self.revision(name, expect).await?;
        self.change(name, revision, None, Change::Withdraw, note).await
    }

    /// Makes the candidate the live release.
    pub(crate) async fn promote(&self, name: &BindingName, expect: Expect, note: &Note) -> Result<Changed, Refused> {
        let revision = self.revision(name, expect).await?;
        self.change(name, revision, None, Change::Promote, note).await
    }

    /// Changes a binding's settings.
    pub(crate) async fn set(
        &self,
        name: &BindingName,
        request: SettingsRequest,
        expect: Expect,
        note: &Note,
    ) -> Result<Changed, Refused> {
        let binding = self.binding(name).await?;
        let settings = with(binding.spec.settings.clone(), request);
        let live = self.release_spec(binding.releases.live).await?;
        check_phases(&settings, &self.package(live.package).await?.manifest.hooks)?;
        let revision = expect.revision.unwrap_or(binding.revision);
        self.change(name, revision, None, Change::Settings(settings), note).await
    }

    async fn change(
        &self,
        name: &BindingName,
        revision: i64,
        new: Option<&ReleaseSpec>,
        change: Change,
        note: &Note,
    ) -> Result<Changed, Refused> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        if let Some(spec) = new {
            releases::create(&tx, spec, &note.actor).await?;
        }
        let was = bindings::get(&tx, name).await?;
        let binding = bindings::change(&tx, name, revision, &change, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        drop(client);
        self.shown(binding, was).await
    }

    /// Shows a change here before it is answered.
    async fn shown(&self, binding: Binding, was: Option<Binding>) -> Result<Changed, Refused> {
        let shown = self.converge().await.map_err(|error| {
            Refused::Unavailable(format!(
                "the change is made, but this server does not show it yet: {}",
                crate::cli::chain(error.as_ref())
            ))
        })?;
        let before = was.as_ref().map(|was| was.releases.live).filter(|before| *before != binding.releases.live);
        Ok(Changed { binding, before, was, shown })
    }

    /// Loads a release under a binding's name, checks and all, so that switching to it is one pointer.
    async fn ready(&self, name: &BindingName, spec: &ReleaseSpec) -> Result<(), Refused> {
        let key = (name.clone(), spec.hash());
        if self.loaded.lock().await.releases.contains_key(&key) {
            return Ok(());
        }
        let release = self.load(name, spec).await?;
        self.loaded.lock().await.releases.insert(key, Arc::clone(&release));
        Ok(())
    }

    /// What a request for a release comes to.
    async fn specify(
        &self,
        plugin: &PluginName,
        binding: Option<&Binding>,
        request: ReleaseRequest,
    ) -> Result<ReleaseSpec, Refused> {
        if let Some(hash) = request.release {
            return self.release_spec(hash).await;
        }
        let live = match binding {
            Some(binding) => Some(self.release_spec(binding.releases.live).await?),
            None => None,
        };
        let digest = match (&request.version, &live) {
            (Some(version), _) => self.version(plugin, version).await?,
            (None, Some(live)) => live.package,
            (None, None) => self.newest(plugin).await?,
        };
        let package = self.package(digest).await?;
        let mut given = match (request.config, &live) {
            (Some(config), _) => config,
            (None, Some(live)) => live.config.to_object(),
            (None, None) => serde_json::Map::new(),
        };
        given.extend(request.set);
        let config = package.schema.configure(&package.manifest.config, &given)?;
        let asked = package.manifest.asked();
        let given = match (request.grants, &live) {
            (Some(grants), _) => grants.into_iter().collect(),
            (None, Some(live)) => live.grants.clone(),
            // Grants that name nothing in particular come with the plugin; what must be named is the operator's to name.
            (None, None) => Grants::new(asked.iter().filter(|grant| !grant.is_open()).cloned()),
        };
        let grants = asked.give(&given).map_err(|error| Refused::Request(error.to_string()))?;
        let instances = request.instances.or_else(|| live.map(|live| live.instances));
        Ok(ReleaseSpec {
            package: digest,
            config: Document::new(config),
            grants,
            limits: Document::default(),
            instances: instances.unwrap_or(package.manifest.defaults.instances),
        })
    }

    async fn version(
        &self,
        plugin: &PluginName,
        version: &str,
    ) -> Result<lectern_domain::plugin::PackageDigest, Refused> {
        let client = self.database.client().await?;
        if let Some(found) = packages::get_version(&client, plugin, version).await? {
            return Ok(found.digest);
        }
        let mut installed: Vec<String> = packages::list(&client)
            .await?
            .into_iter()
            .filter(|one| one.plugin == *plugin)
            .map(|one| one.version)
            .collect();
        installed.dedup();
        let there = if installed.is_empty() { "none is".to_owned() } else { installed.join(", ") };
        Err(Refused::NotFound(format!("version {version} of {plugin} is not installed ({there}): install it first")))
    }

    async fn newest(&self, plugin: &PluginName) -> Result<lectern_domain::plugin::PackageDigest, Refused> {
        let all = packages::list(&self.database.client().await?).await?;
        // In the order in which they were installed.
        let newest = all.into_iter().rfind(|package| package.plugin == *plugin);
        newest.map(|package| package.digest).ok_or_else(|| {
            Refused::NotFound(format!("the plugin {plugin} is not installed: `lectern plugin list` shows what is"))
        })
    }

    async fn release_spec(&self, hash: ReleaseHash) -> Result<ReleaseSpec, Refused> {
        let found = releases::get(&self.database.client().await?, hash).await?;
        found.map(|release| release.spec).ok_or_else(|| Refused::NotFound(format!("there is no release {hash}")))
    }

    /// The binding of this name.
    pub(crate) async fn binding(&self, name: &BindingName) -> Result<Binding, Refused> {
        let found = bindings::get(&self.database.client().await?, name).await?;
        found.ok_or_else(|| {
            Refused::NotFound(format!("nothing is bound as {name}: `lectern plugin list` shows what is"))
        })
    }

    async fn revision(&self, name: &BindingName, expect: Expect) -> Result<i64, Refused> {
        match expect.revision {
            Some(revision) => Ok(revision),
            None => Ok(self.binding(name).await?.revision),
        }
    }

    /// Refuses a release that was not tried in the shadow, or that decided otherwise too often there.
    async fn check_shadow(&self, binding: &Binding, release: ReleaseHash, most: u16) -> Result<(), Refused> {
        let name = &binding.spec.name;
        let tried = binding
            .releases
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.release == release && candidate.mode == CandidateMode::Shadow);
        let report = if tried { shadow::report(&self.database.client().await?, name, release).await? } else { None };
        let Some(report) = report.filter(|report| report.compared > 0) else {
            return Err(Refused::Conflict(format!(
                "release {} has not decided anything in the shadow of {name} yet: `lectern plugin shadow {name} …`, and wait for traffic",
                release.short()
            )));
        };
        let differing = report.differing + report.failures.saturating_sub(report.differing);
        if u128::from(differing) * 10_000 > u128::from(most) * u128::from(report.compared) {
            return Err(Refused::Conflict(format!(
                "release {} decided otherwise in {differing} of {} calls, more than {}.{:02} %: `lectern plugin shadow {name} --report`",
                release.short(),
                report.compared,
                most / 100,
                most % 100
            )));
        }
        Ok(())
    }
}

fn is_empty(request: &ReleaseRequest) -> bool {
    let ReleaseRequest { release, version, config, set, grants, instances } = request;
    release.is_none()
        && version.is_none()
        && config.is_none()
        && set.is_empty()
        && grants.is_none()
        && instances.is_none()
}

fn with(settings: BindingSettings, request: SettingsRequest) -> BindingSettings {
    BindingSettings {
        phases: request.phases.unwrap_or(settings.phases),
        position: request.position.unwrap_or(settings.position),
        matcher: request.matcher.unwrap_or_default().over(settings.matcher),
        on_failure: request.on_failure.unwrap_or(settings.on_failure),
        budget: request.budget.unwrap_or(settings.budget),
        enabled: request.enabled.unwrap_or(settings.enabled),
    }
}

/// Whether a plugin with these hooks can stand in these phases.
fn check_phases(
    settings: &BindingSettings,
    hooks: &std::collections::BTreeSet<lectern_domain::plugin::Hook>,
) -> Result<(), Refused> {
    use lectern_domain::plugin::{Hook, Phase};
    for phase in &settings.phases {
        let needs = match phase {
            Phase::Route | Phase::Select => Hook::Route,
            Phase::Authenticate => Hook::Authenticate,
        };
        if !hooks.contains(&needs) {
            let has: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
            return Err(Refused::Request(format!(
                "the phase {} is for plugins with the hook {}; this one has {}",
                phase.as_str(),
                needs.as_str(),
                has.join(", ")
            )));
        }
    }
    Ok(())
}
