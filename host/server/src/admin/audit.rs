//! The check of the audit log, over the admin socket.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use lectern_metadata::Database;
use lectern_metadata::audit::{self, Chain};

use super::protocol::AuditView;
use super::server::Answer;

/// The routes.
pub(super) fn routes(database: Database) -> Router {
    Router::new().route("/audit/verify", post(verify)).with_state(database)
}

async fn verify(State(database): State<Database>) -> Answer<AuditView> {
    let found = audit::verify(&database.client().await?).await?;
    Ok(Json(match found {
        Chain::Whole(head) => {
            AuditView { whole: true, entries: head.seq, hash: Some(head.hash.to_string()), broken_at: None }
        }
        Chain::Broken { seq } => AuditView { whole: false, entries: seq - 1, hash: None, broken_at: Some(seq) },
    }))
}
