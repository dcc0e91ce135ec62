-- Several control planes on one database: whose stream speaks for a sidecar, what each replica heard, and which shares are
-- asked back.

-- Who serves the feed, as long as it says so.
CREATE TABLE replicas (
    id       TEXT PRIMARY KEY,
    alive_ms BIGINT NOT NULL,
    -- Number of its last report; each row of sidecars carries the number of the report that it came with.
    batch    BIGINT NOT NULL
);

-- The number of the sidecar's newest stream: what was said on an earlier one changes nothing any more.
ALTER TABLE sidecars ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sidecars ADD COLUMN replica TEXT NOT NULL DEFAULT '';
ALTER TABLE sidecars ADD COLUMN connected BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sidecars ADD COLUMN fresh_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sidecars ADD COLUMN acked_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sidecars ADD COLUMN skew_ms BIGINT;
ALTER TABLE sidecars ADD COLUMN rejections TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sidecars ADD COLUMN batch BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sidecars_of_lineage ON sidecars (lineage);
CREATE INDEX sidecars_of_replica ON sidecars (replica, batch);

INSERT INTO counters (name, value) VALUES ('stream', 0), ('recall', 0);

-- Questions "give back what you do not need" that wait for their answer. One dies with the stream that it was asked on.
CREATE TABLE share_recalls (
    number           BIGINT PRIMARY KEY,
    grant_id         TEXT NOT NULL,
    service          TEXT NOT NULL,
    -- Who is asked.
    lineage          TEXT NOT NULL,
    generation       BIGINT NOT NULL,
    keep             BIGINT NOT NULL,
    -- For whom.
    asker_instance   TEXT NOT NULL,
    asker_lineage    TEXT NOT NULL,
    asker_generation BIGINT NOT NULL,
    wanted           BIGINT NOT NULL,
    asked_ms         BIGINT NOT NULL,
    -- Everything that was allotted to the lineage before is told by this revision.
    revision         BIGINT NOT NULL,
    UNIQUE (grant_id, lineage)
);
