//! The one application and the one managed identity of this world; new ones at each start.

use serde::{Deserialize, Serialize};

use crate::random;

/// Who may sign in, and how. All of it is made up at each start, so that a test can search for the
/// secrets in what was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// The tenant of everything.
    pub tenant_id: String,
    /// The application that signs in at Entra.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The managed identity, by client id.
    pub managed_client_id: String,
    /// The managed identity, by object id.
    pub managed_object_id: String,
    /// The managed identity, by resource id.
    pub managed_resource_id: String,
    /// `IDENTITY_HEADER` of App Service.
    pub identity_header: String,
    /// `MSI_SECRET` of Azure ML.
    pub msi_secret: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let group = "/subscriptions/0/resourcegroups/tests/providers";
        Self {
            tenant_id: random::uuid(),
            client_id: random::uuid(),
            client_secret: random::hex(20),
            managed_client_id: random::uuid(),
            managed_object_id: random::uuid(),
            managed_resource_id: format!(
                "{group}/Microsoft.ManagedIdentity/userAssignedIdentities/node"
            ),
            identity_header: random::uuid(),
            msi_secret: random::hex(16),
        }
    }
}
