-- The Merkle tree over the entries. Tiles only grow, so that every partial tile is how the stored one begins.

CREATE TABLE ledger_tree (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    size BIGINT NOT NULL,
    -- Base64, like all hashes.
    root TEXT NOT NULL
);
INSERT INTO ledger_tree (one, size, root) VALUES (1, 0, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');

CREATE TABLE ledger_tiles (
    level  BIGINT NOT NULL,
    n      BIGINT NOT NULL,
    -- All its hashes, one after the other.
    hashes TEXT NOT NULL,
    PRIMARY KEY (level, n)
);

-- Under which origin the log is signed. The last is the one in force: a restored backup begins another log.
CREATE TABLE ledger_logs (
    position BIGINT PRIMARY KEY,
    -- As configured.
    base     TEXT NOT NULL,
    origin   TEXT NOT NULL UNIQUE,
    at_ms    BIGINT NOT NULL
);

-- INVARIANT: one row for a size, and none is added below another.
CREATE TABLE ledger_checkpoints (
    origin TEXT NOT NULL,
    size   BIGINT NOT NULL,
    root   TEXT NOT NULL,
    note   TEXT NOT NULL,
    at_ms  BIGINT NOT NULL,
    PRIMARY KEY (origin, size)
);

-- Public: the keys that have signed checkpoints, the newest last.
CREATE TABLE ledger_keys (
    position BIGINT PRIMARY KEY,
    public   TEXT NOT NULL UNIQUE
);

-- What witnesses answered: the line that goes under the checkpoint.
CREATE TABLE ledger_cosignatures (
    origin  TEXT NOT NULL,
    size    BIGINT NOT NULL,
    witness TEXT NOT NULL,
    line    TEXT NOT NULL,
    at_ms   BIGINT NOT NULL,
    PRIMARY KEY (origin, size, witness)
);
