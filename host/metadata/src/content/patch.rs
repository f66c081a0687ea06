//! Changes of a content item's settings.

use lectern_domain::{AccessType, UserId};
use serde_json::{Map, Value};

use super::ContentRow;

/// Changes of a content item; `None` leaves a setting as it is, `Some(None)` clears one that may be unset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContentPatch {
    /// New name.
    pub name: Option<String>,
    /// New title.
    pub title: Option<Option<String>>,
    /// New description.
    pub description: Option<String>,
    /// New owner.
    pub owner: Option<UserId>,
    /// New access type.
    pub access_type: Option<AccessType>,
    /// Locks or unlocks.
    pub locked: Option<bool>,
    /// New message for visitors while it is locked.
    pub locked_message: Option<String>,
    /// Seconds; see [`lectern_domain::content::ProcessSettings`] for this and the next seven.
    pub connection_timeout: Option<Option<i32>>,
    /// Seconds.
    pub read_timeout: Option<Option<i32>>,
    /// Seconds.
    pub init_timeout: Option<Option<i32>>,
    /// Seconds.
    pub idle_timeout: Option<Option<i32>>,
    /// Most processes.
    pub max_processes: Option<Option<i32>>,
    /// Least processes.
    pub min_processes: Option<Option<i32>>,
    /// Connections per process.
    pub max_conns_per_process: Option<Option<i32>>,
    /// 0 to 1.
    pub load_factor: Option<Option<f64>>,
    /// Account to run as.
    pub run_as: Option<Option<String>>,
    /// Whether to run as the visitor.
    pub run_as_current_user: Option<bool>,
    /// Settings that are only kept: each key given replaces the old value, `null` included; others stay.
    pub kept_settings: Map<String, Value>,
}

/// Overwrites `target` when there is a new value.
fn set<T: Clone>(target: &mut T, new: &Option<T>) {
    if let Some(new) = new {
        target.clone_from(new);
    }
}

impl ContentPatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the changes to `row`, except a change of owner, which needs the new owner's record.
    pub fn apply(&self, row: &mut ContentRow) {
        set(&mut row.name, &self.name);
        set(&mut row.title, &self.title);
        set(&mut row.description, &self.description);
        set(&mut row.access_type, &self.access_type);
        set(&mut row.locked, &self.locked);
        set(&mut row.locked_message, &self.locked_message);
        set(&mut row.processes.connection_timeout, &self.connection_timeout);
        set(&mut row.processes.read_timeout, &self.read_timeout);
        set(&mut row.processes.init_timeout, &self.init_timeout);
        set(&mut row.processes.idle_timeout, &self.idle_timeout);
        set(&mut row.processes.max_processes, &self.max_processes);
        set(&mut row.processes.min_processes, &self.min_processes);
        set(&mut row.processes.max_conns_per_process, &self.max_conns_per_process);
        set(&mut row.processes.load_factor, &self.load_factor);
        set(&mut row.run_as, &self.run_as);
        set(&mut row.run_as_current_user, &self.run_as_current_user);
        for (key, value) in &self.kept_settings {
            row.kept_settings.insert(key.clone(), value.clone());
        }
    }
}
