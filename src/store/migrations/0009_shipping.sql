-- What sidecars recorded, on its way into entries: which lines are here, and whose account can be closed.

INSERT INTO counters (name, value) VALUES ('audit_log', 0);

-- One log of a sidecar: one start of its process.
CREATE TABLE audit_logs (
    number      BIGINT PRIMARY KEY,
    log_id      TEXT NOT NULL UNIQUE,
    service     TEXT NOT NULL,
    instance    TEXT NOT NULL,
    -- Of the folder.
    lineage     TEXT NOT NULL,
    last_seq    BIGINT NOT NULL,
    last_sha256 TEXT NOT NULL,
    -- 1: it was closed in order, or another log goes on from it, or what is missing of it was named as lost.
    is_over     BIGINT NOT NULL,
    -- 1: something of it was named as lost.
    is_lost     BIGINT NOT NULL,
    -- The log that goes on from its end.
    followed_by TEXT,
    -- When this row last changed.
    heard_ms    BIGINT NOT NULL
);
CREATE INDEX audit_logs_of_instance ON audit_logs (service, instance, is_over);
CREATE INDEX audit_logs_by_silence ON audit_logs (is_over, heard_ms);

-- A line is named by log, sequence and hash: the same place with another hash is a fork, and both are kept.
CREATE TABLE audit_lines (
    log_number  BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    line_sha256 TEXT NOT NULL,
    entry_index BIGINT NOT NULL,
    grant_id    TEXT,
    PRIMARY KEY (log_number, seq, line_sha256)
);
CREATE INDEX audit_lines_of_grant ON audit_lines (grant_id, entry_index) WHERE grant_id IS NOT NULL;

-- What the lines of each grant add up to.
CREATE TABLE audit_accounts (
    grant_id TEXT PRIMARY KEY,
    intents  BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    -- Outcomes by how they ended: JSON.
    ends     TEXT NOT NULL
);

-- Up to which revision each sidecar has shipped everything that was recorded under grants ended by then.
CREATE TABLE audit_settled (
    service  TEXT NOT NULL,
    instance TEXT NOT NULL,
    lineage  TEXT NOT NULL,
    epoch    TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (service, instance, lineage)
);

-- Grants that have ended, and the entry that closes their account.
CREATE TABLE grant_closings (
    grant_id    TEXT PRIMARY KEY,
    service     TEXT NOT NULL,
    -- Of its end.
    revision    BIGINT NOT NULL,
    ended_ms    BIGINT NOT NULL,
    -- 1: the account is to be closed, or closed anew.
    is_due      BIGINT NOT NULL,
    -- How many sidecars were missing when it was closed.
    missing     BIGINT NOT NULL DEFAULT 0,
    entry_index BIGINT
);
CREATE INDEX grant_closings_due ON grant_closings (is_due, ended_ms);
CREATE INDEX grant_closings_missing ON grant_closings (service, missing);

-- How far each sidecar's log was anchored.
CREATE TABLE audit_anchors (
    service  TEXT NOT NULL,
    instance TEXT NOT NULL,
    log_id   TEXT NOT NULL,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (service, instance)
);
