//! What a request can be, as rules, counters and the log name it.

use serde::{Deserialize, Serialize};

/// What a request asks for. `Vault` and `Token` are groups, for rules only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// Any authorized request to a vault or HSM.
    Vault,
    /// Any request for a token, but not Entra's discovery.
    Token,
    /// A request to a vault that is about to be answered with a challenge.
    Challenge,
    /// CONNECT to the proxy.
    Connect,
    /// Making a key, or a new version by `create`.
    Create,
    /// Reading a key.
    Get,
    /// Changing a version's attributes.
    Update,
    /// Making a new version by `rotate`.
    Rotate,
    /// Wrapping.
    Wrap,
    /// Unwrapping.
    Unwrap,
    /// Deleting a key, softly if the vault does that.
    Delete,
    /// Listing keys.
    List,
    /// Listing the versions of a key.
    ListVersions,
    /// Listing deleted keys.
    ListDeleted,
    /// Reading a deleted key.
    GetDeleted,
    /// Taking a deletion back.
    Recover,
    /// Destroying a deleted key.
    Purge,
    /// Entra's token endpoint.
    Entra,
    /// Entra's OpenID and instance discovery documents.
    Discovery,
    /// The identity endpoint of virtual machines.
    Imds,
    /// The identity endpoint of App Service and Container Apps.
    AppService,
    /// The identity endpoint of Azure Arc, both of its steps.
    Arc,
    /// The identity endpoint of Azure ML.
    AzureMl,
    /// A request that is none of these.
    Unknown,
}

impl Op {
    /// Whether a rule for `self` is for `other` too.
    pub(crate) fn covers(self, other: Self) -> bool {
        match self {
            Self::Vault => other.is_vault(),
            Self::Token => other.is_token(),
            op => op == other,
        }
    }

    fn is_token(self) -> bool {
        use Op::{AppService, Arc, AzureMl, Entra, Imds};
        matches!(self, Entra | Imds | AppService | Arc | AzureMl)
    }

    fn is_vault(self) -> bool {
        use Op::{Challenge, Connect, Discovery, Unknown};
        !self.is_token() && !matches!(self, Challenge | Connect | Discovery | Unknown)
    }
}
