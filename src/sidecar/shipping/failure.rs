//! Why a round of shipping brought nothing. Whatever it was, the lines are kept and it is tried again.

use std::io;

use super::courier::CourierError;
use crate::sidecar::audit_log::follow::FollowError;

/// Why nothing was brought.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShipError {
    #[error(transparent)]
    Courier(#[from] CourierError),
    #[error("the audit log cannot be read")]
    Segments(#[from] FollowError),
    #[error("the audit log's folder cannot be read")]
    Folder(#[from] io::Error),
    #[error("the control plane names a line that was not sent")]
    Astray,
    #[error("the shipment cannot be written")]
    Header(#[from] serde_json::Error),
    #[error("reading was cut off")]
    Cut,
}
