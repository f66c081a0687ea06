//! The operator's verbs of `lectern plugin`: they ask a running server, over its admin socket or over HTTP with a key.

mod bind;
mod history;
mod look;
mod packages;
mod release;
mod remote;
mod secret;
mod swap;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OperatorVerb {
    /// Install a package; it takes no requests until it is bound.
    Install(packages::InstallArgs),
    /// Remove an installed package that no binding needs.
    Remove(packages::RemoveArgs),
    /// Trust a key: packages that it signed are admitted.
    Trust(packages::TrustArgs),
    /// Trust a key no more. What it signed stays installed.
    Untrust(packages::UntrustArgs),
    /// List trusted keys.
    Keys(remote::RemoteArgs),
    /// List what is bound, what is installed, and which server runs what.
    List(look::ListArgs),
    /// Show one binding.
    Show(look::ShowArgs),
    /// Say what a plugin looks at and what it answers, as the server learned it.
    Explain(look::ExplainArgs),
    /// Show what was changed, by whom and why; check that nobody changed it since.
    History(history::HistoryArgs),
    /// Put an installed plugin into the gate.
    Bind(bind::BindArgs),
    /// Change where a binding applies.
    Set(bind::SetArgs),
    /// Take a binding out of the gate.
    Unbind(bind::UnbindArgs),
    /// Make another release of a binding the live one; no request is dropped.
    Swap(swap::SwapArgs),
    /// Go back to the release that was live before.
    Rollback(swap::PlainArgs),
    /// Let a candidate see copies of requests, and report what it would have decided.
    Shadow(swap::ShadowArgs),
    /// Let a candidate answer for a share of visitors, or for users by name.
    Canary(swap::CanaryArgs),
    /// Make the candidate the live release.
    Promote(swap::PlainArgs),
    /// End the trial of a candidate.
    Withdraw(swap::PlainArgs),
    /// Set, list and remove the secrets of a binding.
    #[command(subcommand)]
    Secret(secret::SecretVerb),
}

pub(super) fn run(verb: OperatorVerb) -> anyhow::Result<()> {
    match verb {
        OperatorVerb::Install(args) => packages::install(&args),
        OperatorVerb::Remove(args) => packages::remove(&args),
        OperatorVerb::Trust(args) => packages::trust(&args),
        OperatorVerb::Untrust(args) => packages::untrust(&args),
        OperatorVerb::Keys(args) => packages::keys(&args),
        OperatorVerb::List(args) => look::list(&args),
        OperatorVerb::Show(args) => look::show(&args),
        OperatorVerb::Explain(args) => look::explain(&args),
        OperatorVerb::History(args) => history::history(&args),
        OperatorVerb::Bind(args) => bind::bind(&args),
        OperatorVerb::Set(args) => bind::set(&args),
        OperatorVerb::Unbind(args) => bind::unbind(&args),
        OperatorVerb::Swap(args) => swap::swap(&args),
        OperatorVerb::Rollback(args) => swap::plain(&args, "rollback"),
        OperatorVerb::Shadow(args) => swap::shadow(&args),
        OperatorVerb::Canary(args) => swap::canary(&args),
        OperatorVerb::Promote(args) => swap::plain(&args, "promote"),
        OperatorVerb::Withdraw(args) => swap::plain(&args, "withdraw"),
        OperatorVerb::Secret(verb) => secret::run(&verb),
    }
}
