-- Shared signals: what transmitters said of people, and grants that wait for their person to authenticate afresh.

-- Every event token that was taken, for as long as an older one is refused.
CREATE TABLE signals (
    transmitter TEXT NOT NULL,
    id          TEXT NOT NULL,
    at_ms       BIGINT NOT NULL,
    PRIMARY KEY (transmitter, id)
);
CREATE INDEX signals_by_age ON signals (at_ms);

-- What was proven of a person at or before this time no longer counts.
CREATE TABLE person_freshness (
    person   TEXT PRIMARY KEY,
    since_ms BIGINT NOT NULL
);

-- Who has called: transmitters know people by issuer and subject, whatever claim they are called by here.
CREATE TABLE principals (
    idp     TEXT NOT NULL,
    subject TEXT NOT NULL,
    person  TEXT NOT NULL,
    PRIMARY KEY (idp, subject)
);
CREATE INDEX principals_of_person ON principals (person);

-- NULL: it is not suspended.
ALTER TABLE grants ADD COLUMN suspended_ms BIGINT;
-- What was proven of its person at or before this time proves nothing for it; NULL: every proof counts.
ALTER TABLE grants ADD COLUMN identity_since_ms BIGINT;
CREATE INDEX grants_suspended ON grants (person) WHERE suspended_ms IS NOT NULL;
