-- What each log counts of a grant: lines that came, and the highest numbers that they and their sidecar tell.
CREATE TABLE audit_counters (
    grant_id         TEXT NOT NULL,
    -- Of audit_logs.
    log_number       BIGINT NOT NULL,
    intents          BIGINT NOT NULL,
    intent_number    BIGINT NOT NULL,
    -- Outcomes that name the assertion which told the upstream.
    assertions       BIGINT NOT NULL,
    assertion_number BIGINT NOT NULL,
    -- As the sidecar's own counter says, which is not made of lines.
    signed           BIGINT NOT NULL,
    PRIMARY KEY (grant_id, log_number)
);
