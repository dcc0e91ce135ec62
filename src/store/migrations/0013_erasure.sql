-- Erasing what is personal: ordered once, carried out in steps, each with its entry.

CREATE TABLE erasures (
    position     BIGINT PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    -- person, age
    of_kind      TEXT NOT NULL,
    reason       TEXT NOT NULL,
    -- Whose. The last step erases it: NULL from then on, and where it is by age.
    person       TEXT,
    -- What stands for the person everywhere.
    called       TEXT,
    -- The first entry beside which the name lay, and the field.
    named_entry  BIGINT,
    named_field  TEXT,
    before_ms    BIGINT,
    -- Verdicts whose grants are not erased by age: ',unclear,unjustified,'.
    held         TEXT NOT NULL,
    -- NULL: the configuration asks for it.
    by_person    TEXT,
    at_ms        BIGINT NOT NULL,
    -- Values beside entries from here on are still to be looked at, up to the last entry that is concerned.
    next_index   BIGINT NOT NULL,
    up_to        BIGINT NOT NULL,
    values_gone  BIGINT NOT NULL,
    records      BIGINT NOT NULL,
    done_ms      BIGINT
);
CREATE INDEX erasures_open ON erasures (position) WHERE done_ms IS NULL;
INSERT INTO counters (name, value) VALUES ('erasure', 0);

-- By whose name it is that lies beside entries.
CREATE INDEX entry_values_of_name ON entry_values (value, entry_index) WHERE field IN ('person', 'by', 'confirmed_by');

-- When something of the grant was erased, and its token with it; lines of it that come later are not kept.
ALTER TABLE grants ADD COLUMN erased_ms BIGINT;
-- When everything personal of the request, and of its grant, was erased because of its age.
ALTER TABLE elevations ADD COLUMN cleared_ms BIGINT;
CREATE INDEX elevations_to_clear ON elevations (decided_ms) WHERE cleared_ms IS NULL;
