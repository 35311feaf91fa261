//! `/v1/store`, for admins: which life of the store it is, backups, and the word that a restored one may go on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use quorate_backbone::{BackupName, UpkeepError};
use quorate_domain::Incarnation;
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{JsonBody, NoParams, Params};

/// What is told of the store.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// Which life of it this is.
    incarnation: Incarnation,
    /// It was restored from a backup, and takes no new transaction before an admin has confirmed that.
    restore_unconfirmed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The folder among the backups.
    name: String,
}

/// A backup that was made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    name: String,
    /// On the broker's machine.
    path: String,
    incarnation: Incarnation,
}

/// `GET /v1/store`.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
) -> Result<Json<Shown>, Problem> {
    caller.require_admin()?;
    Ok(Json(shown(&api)))
}

/// `POST /v1/store/backups`: all that is stored at this moment, while everything goes on.
pub(crate) async fn back_up(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    caller.require_admin()?;
    let name = BackupName::new(&wanted.name)?;
    let path = api.backbone.upkeep.back_up(&name).await?;
    tracing::info!(path = %path.display(), by = %caller.party(), "a backup was made");
    let incarnation = api.backbone.registry.incarnation();
    let made = Made { name: wanted.name, path: path.display().to_string(), incarnation };
    Ok((StatusCode::CREATED, Json(made)))
}

/// `POST /v1/store/confirm`: transactions may begin again in a restored store.
pub(crate) async fn confirm(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
) -> Result<Json<Shown>, Problem> {
    caller.require_admin()?;
    api.backbone.upkeep.confirm_restore().await?;
    Ok(Json(shown(&api)))
}

fn shown(api: &Api) -> Shown {
    Shown {
        incarnation: api.backbone.registry.incarnation(),
        restore_unconfirmed: api.backbone.upkeep.is_restore_unconfirmed(),
    }
}

impl From<UpkeepError> for Problem {
    fn from(error: UpkeepError) -> Self {
        match error {
            UpkeepError::Store(error) => error.into(),
            UpkeepError::Name => Problem::unprocessable(error.to_string()),
            UpkeepError::NoBackups | UpkeepError::Occupied => Problem::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}
