-- A grant that is to be bound to a key or a certificate can be approved before anything is: it has no token until its
-- person has claimed it.

-- When it was claimed; NULL: it was bound as it was made, or nothing is bound to it.
ALTER TABLE grants ADD COLUMN claimed_ms BIGINT;

-- Proofs of possession that bound something: each does so once, at whichever replica.
CREATE TABLE used_proofs (
    -- SHA-256 of the key's thumbprint and the proof's jti.
    mark     TEXT PRIMARY KEY,
    -- Until when no nonce lets it through any more.
    until_ms BIGINT NOT NULL
);
CREATE INDEX used_proofs_by_age ON used_proofs (until_ms);
