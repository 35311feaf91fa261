//! Who asks. The party comes from the connection's verified certificate alone (invariant 3): `serve` puts the `Peer` of
//! the handshake into each request, and a request without one gets nowhere.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quorate_domain::{Author, PartyId, UnixMs};
use quorate_identity::Peer;

use crate::Api;
use crate::problem::Problem;

/// Whether a caller sees more than a party does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sees its own transactions and whom it shares one with.
    Party,
    /// Listed in `[api] admins`: sees everything, payloads excepted.
    Admin,
}

/// The party that made a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub author: Author,
    pub certificate_ends: UnixMs,
    pub role: Role,
}

impl Caller {
    pub(crate) fn party(&self) -> &PartyId {
        &self.author.party
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Refuses whoever is not an admin, as if there were nothing here.
    pub(crate) fn require_admin(&self) -> Result<(), Problem> {
        if self.is_admin() { Ok(()) } else { Err(Problem::not_found()) }
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().ok_or_else(unknown)?;
        let role = if api.admins.contains(&peer.party) { Role::Admin } else { Role::Party };
        Ok(Caller {
            author: Author { party: peer.party.clone(), certificate: peer.certificate },
            certificate_ends: peer.not_after,
            role,
        })
    }
}

/// Stands before every route, the unknown ones included: no certificate, no answer.
pub(crate) async fn require_peer(request: Request, next: Next) -> Response {
    if request.extensions().get::<Peer>().is_none() {
        return unknown().into_response();
    }
    next.run(request).await
}

fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "the API speaks only to parties with a client certificate")
}
