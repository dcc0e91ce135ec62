-- Handing entries on to sinks: how far each has them, and which replica's turn it is.
CREATE TABLE sink_places (
    name          TEXT PRIMARY KEY,
    -- The entry that is handed on next.
    next_index    BIGINT NOT NULL,
    -- The replica that hands on, until then.
    holder        TEXT NOT NULL,
    held_until_ms BIGINT NOT NULL
);
