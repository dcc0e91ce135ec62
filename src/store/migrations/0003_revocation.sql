-- Revocations of every size with what became of them, and who froze what, when and why.

INSERT INTO counters (name, value) VALUES ('revocation', 0);

CREATE TABLE revocations (
    position     BIGINT PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    selector     TEXT NOT NULL,
    by_person    TEXT NOT NULL,
    note         TEXT,
    at_ms        BIGINT NOT NULL,
    -- Position of the newest grant there was: later ones are not its business.
    up_to        BIGINT NOT NULL,
    -- 1 while grants remain to be ended.
    is_open      BIGINT NOT NULL,
    ended        BIGINT NOT NULL,
    denied       BIGINT NOT NULL,
    -- Set once, when no sidecar's answer is awaited any more.
    settled_ms   BIGINT,
    enforced     BIGINT,
    stopped      BIGINT,
    rejected     BIGINT,
    -- NULL although settled: not known.
    elapsed_ms   BIGINT
);
CREATE INDEX revocations_to_settle ON revocations (settled_ms, position);
CREATE INDEX revocations_by ON revocations (by_person, position);

-- The last revision of a revocation at each service.
CREATE TABLE revocation_reach (
    revocation TEXT NOT NULL REFERENCES revocations (id),
    -- Empty: every service.
    service    TEXT NOT NULL,
    revision   BIGINT NOT NULL,
    PRIMARY KEY (revocation, service)
);

ALTER TABLE grants ADD COLUMN revocation TEXT;

-- NULL in rows of the first schema: it was not kept.
ALTER TABLE freezes ADD COLUMN by_person TEXT;
ALTER TABLE freezes ADD COLUMN note TEXT;
ALTER TABLE freezes ADD COLUMN at_ms BIGINT;
ALTER TABLE freezes ADD COLUMN revision BIGINT;
ALTER TABLE freezes ADD COLUMN revocation TEXT;
