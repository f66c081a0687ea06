//! Changes of bindings: each is one call of [`Plugins`] with what [`Change`] read.

use serde::Deserialize;

use super::super::manage::{CanaryRequest, Expect, SettingsRequest, ShadowRequest, SwapRequest};
use super::change::{Bind, Change, reasoned};
use super::{Answer, shown};

/// A change without a body of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plain {
    expect: Expect,
    reason: String,
}

/// A change of settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    settings: SettingsRequest,
    expect: Expect,
    reason: String,
}

reasoned!(Plain, Settings);

pub(super) async fn bind(Bind { plugins, request, note }: Bind) -> Answer {
    shown(plugins.bind(request, &note).await?)
}

pub(super) async fn set(Change { plugins, name, request, note }: Change<Settings>) -> Answer {
    shown(plugins.set(&name, request.settings, request.expect, &note).await?)
}

pub(super) async fn unbind(Change { plugins, name, request, note }: Change<Plain>) -> Answer {
    shown(plugins.unbind(&name, request.expect, &note).await?)
}

pub(super) async fn swap(Change { plugins, name, request, note }: Change<SwapRequest>) -> Answer {
    shown(plugins.swap(&name, request, &note).await?)
}

pub(super) async fn roll_back(Change { plugins, name, request, note }: Change<Plain>) -> Answer {
    shown(plugins.roll_back(&name, request.expect, &note).await?)
}

pub(super) async fn offer_shadow(Change { plugins, name, request, note }: Change<ShadowRequest>) -> Answer {
    shown(plugins.offer_shadow(&name, request, &note).await?)
}

pub(super) async fn offer_canary(Change { plugins, name, request, note }: Change<CanaryRequest>) -> Answer {
    shown(plugins.offer_canary(&name, request, &note).await?)
}

pub(super) async fn promote(Change { plugins, name, request, note }: Change<Plain>) -> Answer {
    shown(plugins.promote(&name, request.expect, &note).await?)
}

pub(super) async fn withdraw(Change { plugins, name, request, note }: Change<Plain>) -> Answer {
    shown(plugins.withdraw(&name, request.expect, &note).await?)
}
