//! The gate: where does a request go, and who is asking?

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::answer::{Authenticated, Challenge, Page, Routed, Vouched};
use crate::bindings::exports::lectern::plugin::{auth, pages, routing};
use crate::bindings::lectern::plugin::types;
use crate::chain::Chain;
use crate::check::{self, shown};
use crate::directory::Directory;
use crate::engine::{Engine, EngineError};
use crate::error::{BadAnswer, Call, GateError, LoadError};
use crate::head::Head;
use crate::limits::PAGE_BODY_BYTES;
use crate::release::{Release, Spec};
use crate::run::{self, AuthenticateCall, PageCall, RouteCall};
use crate::state::{State, Subject};
use crate::visitor::Visitor;

/// Runs the plugins. Shared by all threads; its futures may be polled on any runtime of tokio, current-thread ones too.
pub struct Gate {
    engine: Engine,
    directory: Arc<dyn Directory>,
    chain: ArcSwap<Chain>,
}

impl Gate {
    /// Starts the engine, with an empty chain: everything is 404 and everybody anonymous until [`Gate::swap`].
    pub fn start(directory: Arc<dyn Directory>) -> Result<Self, EngineError> {
        Ok(Self { engine: Engine::start()?, directory, chain: ArcSwap::default() })
    }

    /// Compiles a component on a blocking thread, links it and runs its check. It takes no traffic until a chain with it is
    /// swapped in.
    pub async fn load(&self, spec: Spec) -> Result<Arc<Release>, LoadError> {
        let (engine, plugin) = (self.engine.clone(), spec.name.clone());
        let compiled = tokio::task::spawn_blocking(move || Release::compile(&engine, spec)).await;
        let release = compiled.map_err(|error| LoadError::Compile { plugin, detail: error.to_string() })??;
        release.check(&self.directory).await?;
        Ok(Arc::new(release))
    }

    /// The chain in force. A request takes it once and passes it to every call, so that it sees one set of plugins.
    pub fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    /// Puts another chain in force and returns the one before, whose requests in flight end with it.
    pub fn swap(&self, chain: Chain) -> Arc<Chain> {
        self.chain.swap(Arc::new(chain))
    }

    /// Asks the routers in order where the request goes. `visitor` is present in calls made after authentication.
    pub async fn route(
        &self,
        chain: &Chain,
        head: &Arc<Head>,
        visitor: Option<&Arc<Visitor>>,
    ) -> Result<Routed, GateError> {
        for release in chain.routers() {
            let (decision, _) = run::call(release, self.subject(head, visitor), RouteCall).await?;
            let invalid = invalid(release, Call::Route);
            match decision {
                routing::Decision::Next => {}
                routing::Decision::Forward(forward) => {
                    let forward = check::forward(release.name(), forward, head).map_err(invalid)?;
                    return Ok(Routed::Forward(Box::new(forward)));
                }
                routing::Decision::Respond(reply) => {
                    let reply = check::reply(reply).map_err(invalid)?;
                    return Ok(Routed::Respond { plugin: Arc::clone(release.name()), reply });
                }
            }
        }
        Ok(Routed::NotMine)
    }

    /// Asks the authenticators in order who is asking. An error is never "nobody": answer it with 503.
    pub async fn authenticate(&self, chain: &Chain, head: &Arc<Head>) -> Result<Authenticated, GateError> {
        let mut challenge = None;
        for release in chain.authenticators() {
            let (outcome, state) = run::call(release, self.subject(head, None), AuthenticateCall).await?;
            let plugin = || Arc::clone(release.name());
            let invalid = invalid(release, Call::Authenticate);
            match outcome {
                auth::Outcome::Abstain => {}
                auth::Outcome::Authenticated(identity) => {
                    let vouched = vouched(release, &state, identity).map_err(invalid)?;
                    return Ok(Authenticated::Identity(Box::new(vouched)));
                }
                auth::Outcome::Challenge(reply) => {
                    // Checked even when an earlier plugin's is kept: a broken plugin should be noticed.
                    let reply = check::reply(reply).map_err(invalid)?;
                    challenge.get_or_insert_with(|| Box::new(Challenge { plugin: plugin(), reply }));
                }
                auth::Outcome::Rejected(reason) => {
                    return Ok(Authenticated::Rejected { plugin: plugin(), reason: shown(&reason) });
                }
            }
        }
        Ok(Authenticated::Anonymous { challenge })
    }

    /// Lets the plugin `name` handle a request to a path below `/__plugin__/<name>/`. The caller bounds the body while it reads
    /// it; [`PAGE_BODY_BYTES`] is the limit.
    pub async fn page(&self, chain: &Chain, name: &str, head: &Arc<Head>, body: Bytes) -> Result<Page, GateError> {
        let Some(release) = chain.with_pages(name) else { return Ok(Page::NoSuchPlugin) };
        if body.len() > PAGE_BODY_BYTES {
            return Err(GateError::BodyTooLarge { plugin: Arc::clone(release.name()), got: body.len() });
        }
        let (handled, state) = run::call(release, self.subject(head, None), PageCall(body.into())).await?;
        let page = match handled {
            pages::Handled::Reply(reply) => check::reply(reply).map(Page::Reply),
            pages::Handled::SignedOut(reply) => check::reply(reply).map(Page::SignedOut),
            pages::Handled::SignedIn((identity, reply)) => vouched(release, &state, identity)
                .and_then(|vouched| Ok(Page::SignedIn { vouched: Box::new(vouched), reply: check::reply(reply)? })),
        };
        page.map_err(invalid(release, Call::Page))
    }

    fn subject(&self, head: &Arc<Head>, visitor: Option<&Arc<Visitor>>) -> Subject {
        Subject {
            head: Some(Arc::clone(head)),
            visitor: visitor.map(Arc::clone),
            directory: Arc::clone(&self.directory),
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("engine", &self.engine).field("chain", &self.chain.load()).finish_non_exhaustive()
    }
}

fn vouched(release: &Release, state: &State, identity: types::Identity) -> Result<Vouched, BadAnswer> {
    let identity = check::identity(identity)?;
    let principal = state.vouched(&identity.subject);
    Ok(Vouched { plugin: Arc::clone(release.name()), identity, principal })
}

fn invalid(release: &Release, call: Call) -> impl FnOnce(BadAnswer) -> GateError {
    let plugin = Arc::clone(release.name());
    move |reason| GateError::Invalid { plugin, call, reason }
}
