//! The schema in steps, the same for both databases but for the types of the first, and for indexes on what JSON holds.
//!
//! A database counts the steps it has taken. Each is taken once, in one transaction with its count; a database that has
//! taken more than this version knows is left as it is.

use super::opening::OpenError;

/// One step's text for each database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Step {
    /// One text for both.
    const fn of(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

pub(super) const STEPS: &[Step] = &[
    Step {
        sqlite: include_str!("migrations/0001_first.sqlite.sql"),
        postgres: include_str!("migrations/0001_first.postgres.sql"),
    },
    Step::of(include_str!("migrations/0002_lifecycle.sql")),
    Step::of(include_str!("migrations/0003_revocation.sql")),
    Step::of(include_str!("migrations/0004_replicas.sql")),
    Step::of(include_str!("migrations/0005_policy.sql")),
    Step::of(include_str!("migrations/0006_bindings.sql")),
    Step::of(include_str!("migrations/0007_signals.sql")),
    Step::of(include_str!("migrations/0008_ledger.sql")),
    Step::of(include_str!("migrations/0009_shipping.sql")),
    Step::of(include_str!("migrations/0010_scim.sql")),
    Step::of(include_str!("migrations/0011_sinks.sql")),
    Step::of(include_str!("migrations/0012_ages.sql")),
    Step::of(include_str!("migrations/0013_erasure.sql")),
    Step {
        sqlite: include_str!("migrations/0014_reports.sqlite.sql"),
        postgres: include_str!("migrations/0014_reports.postgres.sql"),
    },
    Step::of(include_str!("migrations/0015_capture.sql")),
    Step::of(include_str!("migrations/0016_rechecks.sql")),
];

/// How many steps a database has taken, unless a newer version took more.
pub(super) fn not_newer(found: i64, database: &str) -> Result<usize, OpenError> {
    match usize::try_from(found) {
        Ok(taken) if taken <= STEPS.len() => Ok(taken),
        Ok(_) | Err(_) => Err(OpenError::Newer { database: database.to_owned(), found, known: STEPS.len() }),
    }
}

/// Exactly this version's schema: for reading without bringing the database up to it.
pub(super) fn known(found: i64, database: &str) -> Result<(), OpenError> {
    if not_newer(found, database)? < STEPS.len() {
        return Err(OpenError::Older { database: database.to_owned(), found, known: STEPS.len() });
    }
    Ok(())
}
