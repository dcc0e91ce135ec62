//! The named limits of the audit log.

use std::path::PathBuf;

/// Where the log is written, and its limits. Each has its unit last.
#[derive(Debug, Clone)]
pub struct AuditLogConfig {
    pub directory: PathBuf,
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes_max: u64,
    /// How long a caller waits for its intent to be durable.
    pub write_deadline_ms_max: u64,
    /// How long outcomes and refusals gather when no intent waits. An intent is never made to wait for others.
    pub group_commit_ms: u64,
    /// Overrides in flight: accepted intents whose outcome is not written.
    pub open_intents_max: usize,
    /// Refusals and observations waiting to be written.
    pub queue_records_max: usize,
    /// Refusals and observations are written only while more than this is free.
    pub override_reserve_bytes: u64,
    pub stranger_records_per_s_max: u64,
    pub stranger_bytes_per_s_max: u64,
    /// How often what was left out is summed up in a record.
    pub summary_interval_ms: u64,
    /// How often full or failing storage is tried again.
    pub probe_interval_ms: u64,
    pub close_deadline_ms_max: u64,
    /// An intent must be in the ledger, too, within the same deadline.
    pub ledger_required: bool,
    /// How long a start waits for the log that is there to be read, before it serves without overrides.
    pub open_wait_ms_max: u64,
}

impl Default for AuditLogConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("audit"),
            segment_bytes_max: 64 * 1024 * 1024,
            write_deadline_ms_max: 250,
            group_commit_ms: 3,
            open_intents_max: 4096,
            queue_records_max: 4096,
            override_reserve_bytes: 64 * 1024 * 1024,
            stranger_records_per_s_max: 50,
            stranger_bytes_per_s_max: 128 * 1024,
            summary_interval_ms: 10_000,
            probe_interval_ms: 500,
            close_deadline_ms_max: 5000,
            ledger_required: false,
            open_wait_ms_max: 2000,
        }
    }
}
