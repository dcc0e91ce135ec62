//! Ids made where no request is worked for. Those of requests come from `telemetry::request_context`.

use crate::telemetry::request_context::RequestId;

/// A fresh id, such as `3f0c…`: a random UUID.
pub fn fresh() -> String {
    RequestId::fresh().to_string()
}
