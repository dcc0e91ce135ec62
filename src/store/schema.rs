//! The schema in steps, the same for both databases but for the types of the first.
//!
//! A database counts the steps it has taken. Each is taken once, in one transaction with its count; a database that has
//! taken more than this version knows is left as it is.

/// One step's text for each database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

const REPLICAS: &str = include_str!("migrations/0004_replicas.sql");

pub(super) const STEPS: [Step; 2] = [
    Step {
        sqlite: include_str!("migrations/0001_first.sqlite.sql"),
        postgres: include_str!("migrations/0001_first.postgres.sql"),
    },
    Step { sqlite: REPLICAS, postgres: REPLICAS },
];
