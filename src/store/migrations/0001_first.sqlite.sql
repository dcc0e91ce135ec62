-- One file, one writer. Personal values lie in entry_values and in the operating tables, never in entries.canonical.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Dense numbers, taken under the writer's lock.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
INSERT INTO counters (name, value) VALUES ('revision', 0), ('entry', 0), ('policy', 0);

CREATE TABLE elevations (
    position  INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL UNIQUE,
    service   TEXT NOT NULL,
    person    TEXT NOT NULL,
    tier      TEXT NOT NULL,
    state     TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    body      TEXT NOT NULL
);
CREATE INDEX elevations_of_person ON elevations (person, position);

CREATE TABLE grants (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    elevation  TEXT NOT NULL REFERENCES elevations (id),
    service    TEXT NOT NULL,
    person     TEXT NOT NULL,
    state      TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    max_uses   INTEGER,
    -- The claims of the token, and the token itself.
    claims     TEXT NOT NULL,
    token      TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    ended_by   TEXT,
    end_note   TEXT
);
CREATE INDEX grants_of_person ON grants (person, position);
CREATE INDEX grants_of_service ON grants (service, state, position);
CREATE INDEX grants_by_end ON grants (state, expires_ms);

CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    -- NULL: concerns every service.
    service  TEXT,
    kind     TEXT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX changes_of_service ON changes (service, revision);

CREATE TABLE freezes (
    -- Empty: everywhere.
    service TEXT PRIMARY KEY,
    frozen  INTEGER NOT NULL
);

CREATE TABLE shares (
    grant_id TEXT NOT NULL REFERENCES grants (id),
    lineage  TEXT NOT NULL,
    instance TEXT NOT NULL,
    allotted INTEGER NOT NULL,
    spent    INTEGER NOT NULL,
    PRIMARY KEY (grant_id, lineage)
);
CREATE INDEX shares_of_lineage ON shares (lineage);

CREATE TABLE sidecars (
    service        TEXT NOT NULL,
    instance       TEXT NOT NULL,
    version        TEXT NOT NULL,
    service_digest TEXT NOT NULL,
    lineage        TEXT NOT NULL,
    revision       INTEGER NOT NULL,
    heard_ms       INTEGER NOT NULL,
    audit          TEXT NOT NULL,
    PRIMARY KEY (service, instance)
);

CREATE TABLE entries (
    entry_index    INTEGER PRIMARY KEY,
    format_version INTEGER NOT NULL,
    at_ms          INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    canonical      TEXT NOT NULL
);

CREATE TABLE entry_values (
    entry_index INTEGER NOT NULL REFERENCES entries (entry_index),
    field       TEXT NOT NULL,
    value       TEXT NOT NULL,
    salt        BLOB NOT NULL,
    PRIMARY KEY (entry_index, field)
);

CREATE TABLE policy_revisions (
    revision INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    text     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    services TEXT NOT NULL
);

-- Public: the certificates of grant keys that the ledger names.
CREATE TABLE grant_keys (
    kid         TEXT PRIMARY KEY,
    certificate TEXT NOT NULL
);

CREATE TABLE once_keys (
    person    TEXT NOT NULL,
    key       TEXT NOT NULL,
    digest    TEXT NOT NULL,
    elevation TEXT NOT NULL REFERENCES elevations (id),
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (person, key)
);
CREATE INDEX once_keys_by_age ON once_keys (at_ms);
