//! What can go wrong, one variant for each thing a caller does differently. The texts are for the operator.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::PAGE_BODY_BYTES;

/// Which function of a plugin was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `lifecycle.check`
    Check,
    /// `routing.route`
    Route,
    /// `auth.authenticate`
    Authenticate,
    /// `pages.handle`
    Page,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Page => "page",
        })
    }
}

/// What a plugin says when it cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Something it needs is away.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Its configuration must be changed.
    #[error("misconfigured: {0}")]
    Misconfigured(String),
    /// It found itself in a state that its author excluded.
    #[error("internal: {0}")]
    Internal(String),
}

/// Which limit a call ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Computed for longer than this.
    Cpu(Duration),
    /// Did not answer within this time.
    Wall(Duration),
    /// Wanted more linear memory than this many bytes.
    Memory(usize),
    /// Wanted a table of more than this many elements.
    Table(usize),
    /// Passed more bytes to the host than this.
    Hostcall(usize),
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(limit) => write!(f, "computed for more than {limit:?}"),
            Self::Wall(limit) => write!(f, "did not answer within {limit:?}"),
            Self::Memory(limit) => write!(f, "wanted more than {} MiB of memory", limit >> 20),
            Self::Table(limit) => write!(f, "wanted a table of more than {limit} elements"),
            Self::Hostcall(limit) => write!(f, "passed more than {limit} bytes to the host"),
        }
    }
}

/// A call that gave no decision. The client gets 503, also from an authentication plugin: a visitor is never anonymous because
/// a plugin failed. [`GateError::BodyTooLarge`] is the client's mistake and is answered 413.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GateError {
    /// The guest crashed: a panic, an out-of-bounds access, an exit.
    #[error("plugin {plugin}: {call} crashed: {detail}")]
    Trap {
        /// The plugin.
        plugin: Arc<str>,
        /// What was called.
        call: Call,
        /// The trap, and the last the guest wrote to its standard error.
        detail: String,
    },
    /// The call ran into a limit and was ended.
    #[error("plugin {plugin}: {call} {exceeded}")]
    Limit {
        /// The plugin.
        plugin: Arc<str>,
        /// What was called.
        call: Call,
        /// The limit.
        exceeded: Exceeded,
    },
    /// The plugin's calls, or all calls together, were as many as may run at once for the whole queueing time.
    #[error("plugin {plugin}: {call} waited {waited:?} for its turn")]
    Busy {
        /// The plugin.
        plugin: Arc<str>,
        /// What was to be called.
        call: Call,
        /// How long.
        waited: Duration,
    },
    /// The answer breaks the contract.
    #[error("plugin {plugin}: {call} gave an invalid answer: {reason}")]
    Invalid {
        /// The plugin.
        plugin: Arc<str>,
        /// What was called.
        call: Call,
        /// The rule it broke.
        reason: BadAnswer,
    },
    /// The plugin says that it cannot answer.
    #[error("plugin {plugin}: {call} failed: {failure}")]
    Failed {
        /// The plugin.
        plugin: Arc<str>,
        /// What was called.
        call: Call,
        /// What it says.
        failure: Failure,
    },
    /// The plugin failed so often that it is not called for a while.
    #[error("plugin {plugin}: {call} is not made: it failed too often, and is tried again in {retry_after:?}")]
    Broken {
        /// The plugin.
        plugin: Arc<str>,
        /// What was to be called.
        call: Call,
        /// When the next call may be made.
        retry_after: Duration,
    },
    /// The host could not run the call; not the plugin's doing.
    #[error("plugin {plugin}: the host could not run {call}: {detail}")]
    Host {
        /// The plugin.
        plugin: Arc<str>,
        /// What was to be called.
        call: Call,
        /// The engine's words.
        detail: String,
    },
    /// The client sent a page more than [`PAGE_BODY_BYTES`].
    #[error("plugin {plugin}: the body has {got} bytes, more than {PAGE_BODY_BYTES}")]
    BodyTooLarge {
        /// The plugin.
        plugin: Arc<str>,
        /// The size of the body, in bytes.
        got: usize,
    },
}

impl GateError {
    /// Whether it is the plugin's doing, and counts against it.
    pub fn is_the_plugins(&self) -> bool {
        match self {
            Self::Trap { .. } | Self::Limit { .. } | Self::Invalid { .. } => true,
            // What a plugin needs may be away for everybody; what it excluded itself is its own mistake.
            Self::Failed { failure, .. } => !matches!(failure, Failure::Unavailable(_)),
            Self::Busy { .. } | Self::Broken { .. } | Self::Host { .. } | Self::BodyTooLarge { .. } => false,
        }
    }

    /// A word for metrics and logs: stable, one for each variant.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Limit { .. } => "limit",
            Self::Busy { .. } => "busy",
            Self::Invalid { .. } => "invalid",
            Self::Failed { .. } => "failed",
            Self::Broken { .. } => "broken",
            Self::Host { .. } => "host",
            Self::BodyTooLarge { .. } => "body_too_large",
        }
    }
}

/// The rule of the contract that an answer broke. What the guest sent is shown cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// A status outside 200 to 599.
    #[error("status {0} is not 200 to 599")]
    Status(u16),
    /// A field name that is no token.
    #[error("field name {0:?} is not a token")]
    FieldName(String),
    /// A field value with a control character.
    #[error("the value of field {0:?} has a control character")]
    FieldValue(String),
    /// A field that only the host sets.
    #[error("field {0:?} belongs to the host")]
    HostField(String),
    /// Too many fields, or too large together.
    #[error("{count} fields of {bytes} bytes are more than 64 fields of 16 KiB")]
    Fields {
        /// How many.
        count: usize,
        /// Bytes of all names and values.
        bytes: usize,
    },
    /// Too large a body.
    #[error("a body of {0} bytes is more than 256 KiB")]
    Body(usize),
    /// A redirect that leaves the origin.
    #[error(
        "location {0:?} is neither a path on this server, beginning with one slash, nor an origin granted as redirect:<origin>"
    )]
    Location(String),
    /// A second phase that wants another target.
    #[error("target {0:?} is not the one that was decided: the phase select cannot route")]
    OtherTarget(String),
    /// A target that does not exist.
    #[error("target {0:?} is not content:<guid>, system:api, system:lectern or system:dashboard")]
    Target(String),
    /// More segments to strip than the path has.
    #[error("strip-segments({0}) is more than the path has")]
    Strip(u32),
    /// A replacement that is no path.
    #[error("replacement path {0:?}: {1}")]
    Replace(String, crate::path::PathError),
    /// A `bundle` hint that is no bundle number.
    #[error("hint bundle {0:?} is not a bundle number")]
    BundleHint(String),
    /// An open-ended part of an answer that is too large.
    #[error("{what} is larger than {limit}")]
    TooMuch {
        /// Which part.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// An identity without a subject.
    #[error("the identity has no subject")]
    Subject,
}

/// A component that cannot be loaded. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The name of a plugin is part of its addresses.
    #[error("plugin name {0:?} must be 1 to 64 lower-case letters, digits and `-`, beginning with a letter")]
    Name(String),
    /// Too large.
    #[error("plugin {plugin}: the component has {got} bytes, more than {limit}: strip it and build it for size")]
    TooLarge {
        /// The plugin.
        plugin: String,
        /// Its size.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// Not a component.
    #[error("plugin {plugin}: not a WebAssembly component: build it with --target wasm32-wasip2")]
    NotAComponent {
        /// The plugin.
        plugin: String,
    },
    /// The engine's compiler refused it.
    #[error("plugin {plugin}: cannot be compiled: {detail}")]
    Compile {
        /// The plugin.
        plugin: String,
        /// The compiler's words.
        detail: String,
    },
    /// It imports what a plugin never gets.
    #[error(
        "plugin {plugin}: imports {imports}, which plugins are not given: they have no files, sockets, environment or processes; \
         ask through lectern:plugin instead"
    )]
    Foreign {
        /// The plugin.
        plugin: String,
        /// The interfaces, comma-separated.
        imports: String,
    },
    /// Built against another version of the contract.
    #[error(
        "plugin {plugin}: built for {wanted}, this server speaks lectern:plugin@{offered}: rebuild it with lectern-plugin {offered}, \
         or run it on a newer server"
    )]
    Version {
        /// The plugin.
        plugin: String,
        /// The interface it names.
        wanted: String,
        /// The version offered here.
        offered: &'static str,
    },
    /// An interface of the right version that this server does not have.
    #[error(
        "plugin {plugin}: needs {wanted}, which this server does not have: it was built against a newer lectern:plugin {offered}; \
         update the server, or build without it"
    )]
    Missing {
        /// The plugin.
        plugin: String,
        /// The interface.
        wanted: String,
        /// The version offered here.
        offered: &'static str,
    },
    /// The interface has other types than the same version here.
    #[error("plugin {plugin}: does not fit lectern:plugin {offered}: {detail}: rebuild it with the WIT of this server")]
    Mismatch {
        /// The plugin.
        plugin: String,
        /// The version offered here.
        offered: &'static str,
        /// The linker's words.
        detail: String,
    },
    /// It exports nothing that the gate calls.
    #[error("plugin {plugin}: exports {missing} not: a plugin exports lifecycle and routing or auth of lectern:plugin")]
    Exports {
        /// The plugin.
        plugin: String,
        /// What is missing.
        missing: &'static str,
    },
    /// A component without `auth` asks about accounts.
    #[error("plugin {plugin}: imports lectern:plugin/{interface}, which only plugins that export auth may ask")]
    NotForRouters {
        /// The plugin.
        plugin: String,
        /// What it imports.
        interface: String,
    },
    /// It imports what it was not granted.
    #[error(
        "plugin {plugin}: imports lectern:plugin/{interface}, which it was not granted: give it {grant} (its manifest must ask for it; \
         operators say `--grant`), or build it without"
    )]
    NotGranted {
        /// The plugin.
        plugin: String,
        /// What it imports.
        interface: String,
        /// The word of the grant.
        grant: &'static str,
    },
    /// The compiler did not finish, or could not be run.
    #[error("plugin {plugin}: cannot be compiled")]
    Compiler {
        /// The plugin.
        plugin: String,
        /// What happened.
        #[source]
        cause: crate::compile::CompileError,
    },
    /// The engine for this kind of component cannot start.
    #[error("plugin {plugin}: its engine cannot start")]
    Engine {
        /// The plugin.
        plugin: String,
        /// Why.
        #[source]
        cause: crate::engine::EngineError,
    },
    /// Its own check refused.
    #[error("{cause}")]
    Check {
        /// The plugin.
        plugin: String,
        /// What it answered, or how it failed.
        #[source]
        cause: GateError,
    },
}
