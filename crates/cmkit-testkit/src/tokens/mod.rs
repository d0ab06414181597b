//! Where tokens come from: Entra, and the identity endpoints of a node.

pub(crate) mod arc;
mod entra;
pub(crate) mod identity;
pub(crate) mod managed;
pub(crate) mod store;

pub(crate) use entra::{answer as entra, is_login};
pub(crate) use managed::answer as managed_answer;

use serde_json::Value;

use crate::state::Shared;
use store::Grant;

/// A new token.
struct Issued {
    token: String,
    expires_on: i64,
    lifetime: i64,
}

fn issue(shared: &Shared, client: &str, audience: &str, claims: Value) -> Issued {
    let mut state = shared.state();
    let now = state.now();
    let lifetime = state.tokens.lifetime;
    let expires_on = now.saturating_add(lifetime);
    let grant = Grant {
        audience: audience.to_owned(),
        expires_on,
        claims,
        era: state.claims_era,
    };
    let tenant = &shared.identity.tenant_id;
    let token = state.tokens.issue(tenant, client, now, grant);
    Issued {
        token,
        expires_on,
        lifetime,
    }
}
