-- Who applied a policy revision, and proposals that wait for a second administrator.

ALTER TABLE policy_revisions ADD COLUMN applied_by TEXT;
-- Where a second administrator was needed.
ALTER TABLE policy_revisions ADD COLUMN confirmed_by TEXT;
ALTER TABLE policy_revisions ADD COLUMN note TEXT;

CREATE TABLE policy_proposals (
    id         TEXT PRIMARY KEY,
    -- open, applied, withdrawn
    state      TEXT NOT NULL,
    -- The revision that it would follow.
    base       BIGINT NOT NULL,
    text       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    services   TEXT NOT NULL,
    note       TEXT,
    by_person  TEXT NOT NULL,
    at_ms      BIGINT NOT NULL,
    decided_ms BIGINT,
    decided_by TEXT
);
CREATE INDEX policy_proposals_by_state ON policy_proposals (state, at_ms);
