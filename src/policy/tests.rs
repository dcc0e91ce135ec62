//! Requests and live grants against policies.
