-- Requests that wait for approvals, grants that are reviewed, and idempotency keys for every call that makes something.

ALTER TABLE elevations ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE elevations ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE elevations ADD COLUMN ticket TEXT NOT NULL DEFAULT '';
-- By what the tier was open to the person; NULL: the first schema did not say.
ALTER TABLE elevations ADD COLUMN admitted_by TEXT;
-- NULL: it never waited.
ALTER TABLE elevations ADD COLUMN lapses_ms BIGINT;
ALTER TABLE elevations ADD COLUMN decided_ms BIGINT;
ALTER TABLE elevations ADD COLUMN decided_by TEXT;
ALTER TABLE elevations ADD COLUMN decided_note TEXT;
UPDATE elevations SET decided_ms = at_ms;
CREATE INDEX elevations_by_state ON elevations (state, lapses_ms);

CREATE TABLE approvals (
    elevation TEXT NOT NULL REFERENCES elevations (id),
    person    TEXT NOT NULL,
    idp       TEXT NOT NULL,
    at_ms     BIGINT NOT NULL,
    -- The groups that count, and what was taken off.
    member_of TEXT NOT NULL,
    narrowing TEXT NOT NULL,
    PRIMARY KEY (elevation, person)
);

-- A request has one grant at most, whatever races.
CREATE UNIQUE INDEX grants_of_elevation ON grants (elevation);

-- How long after its end a review is due; NULL: none is asked for.
ALTER TABLE grants ADD COLUMN review_due_s BIGINT;
ALTER TABLE grants ADD COLUMN review TEXT NOT NULL DEFAULT 'none';
ALTER TABLE grants ADD COLUMN review_by_ms BIGINT;
ALTER TABLE grants ADD COLUMN reviewed_ms BIGINT;
ALTER TABLE grants ADD COLUMN reviewed_by TEXT;
ALTER TABLE grants ADD COLUMN verdict TEXT;
ALTER TABLE grants ADD COLUMN findings TEXT;
-- What is live now is reviewed when it ends: within a day, which is what every tier had by default.
UPDATE grants SET review_due_s = 86400 WHERE state = 'active';
CREATE INDEX grants_by_review ON grants (review, review_by_ms);

-- What a request or a grant names, so that it can be found by it.
CREATE TABLE scope_items (
    -- Id of an elevation or of a grant.
    owner TEXT NOT NULL,
    -- resource, action
    kind  TEXT NOT NULL,
    item  TEXT NOT NULL,
    PRIMARY KEY (owner, kind, item)
);
CREATE INDEX scope_items_by_item ON scope_items (kind, item);

CREATE TABLE idempotency_keys (
    person    TEXT NOT NULL,
    key       TEXT NOT NULL,
    operation TEXT NOT NULL,
    digest    TEXT NOT NULL,
    -- Id of what came of it.
    made      TEXT NOT NULL,
    at_ms     BIGINT NOT NULL,
    PRIMARY KEY (person, key)
);
INSERT INTO idempotency_keys (person, key, operation, digest, made, at_ms)
    SELECT person, key, 'request', digest, elevation, at_ms FROM once_keys;
DROP TABLE once_keys;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);

-- Rows of the first schema lack what only a program can read out of their JSON: the opening fills it in.
INSERT INTO meta (name, value) VALUES ('to_fill_in', '0002');
