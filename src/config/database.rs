//! Which database: `database = "file.db"` is SQLite, `database = "postgresql://user@host/name"` a PostgreSQL that
//! replicas share. A password is never in the configuration: it lies in a file of its own.

use std::path::{Path, PathBuf};

use super::reader::Section;

/// Connections for reading that one replica holds at most, unless said otherwise.
const CONNECTIONS_MAX: u64 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseConfig {
    Sqlite(PathBuf),
    Postgres(PostgresConfig),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `postgresql://user@host:port/name?sslmode=verify-full&sslrootcert=…`, without a password.
    pub url: String,
    pub password_file: Option<PathBuf>,
    /// Connections for reading, at most.
    pub connections_max: u32,
}

impl PostgresConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), password_file: None, connections_max: 8 }
    }

    /// The URL as it may be shown: parameters can hold more than an address.
    pub fn shown(&self) -> String {
        self.url.split(['?', '#']).next().unwrap_or_default().to_owned()
    }
}

impl DatabaseConfig {
    /// Reads `database`, and beside it `database_password_file` and `database_connections_max`.
    pub(super) fn read(root: &Section<'_>) -> Option<Self> {
        let given: Option<String> = root.required("database");
        let password_file = root.path("database_password_file");
        let connections_max = root.integer("database_connections_max", 1..=100, CONNECTIONS_MAX);
        let given = given?;
        if !is_postgres(&given) {
            for key in ["database_password_file", "database_connections_max"] {
                if root.has(key) {
                    root.mistake(key, "is for PostgreSQL only", Some("remove it"));
                }
            }
            return root.required_path("database").map(Self::Sqlite);
        }
        if has_password(&given) {
            root.mistake("database", "holds a password", Some("name a file as database_password_file"));
        }
        let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
        Some(Self::Postgres(PostgresConfig { url: given, password_file, connections_max }))
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

fn is_postgres(given: &str) -> bool {
    given.starts_with("postgresql://") || given.starts_with("postgres://")
}

fn has_password(url: &str) -> bool {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let authority = address.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || parameters.split('&').any(|parameter| parameter.starts_with("password="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_seen() {
        for bad in ["postgres://u:p@h/d", "postgresql://u:@h/d", "postgres://h/d?sslmode=require&password=x"] {
            assert!(has_password(bad), "{bad}");
        }
        for good in ["postgres://u@h:5432/d", "postgres:///d?host=/run/postgresql", "postgresql://[::1]:5432/d"] {
            assert!(!has_password(good), "{good}");
        }
    }

    #[test]
    fn parameters_are_not_shown() {
        let config = PostgresConfig::new("postgresql://u@h/d?sslkey=/k");
        assert_eq!(config.shown(), "postgresql://u@h/d");
    }
}
