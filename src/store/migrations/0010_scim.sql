-- People and groups as provisioning clients keep them (SCIM 2.0). A client sees its own alone.

CREATE TABLE scim_users (
    id            TEXT PRIMARY KEY,
    client        TEXT NOT NULL,
    user_name     TEXT NOT NULL,
    -- In lower case: userName is compared without regard to it.
    user_name_key TEXT NOT NULL,
    external_id   TEXT,
    person        TEXT NOT NULL,
    active        BIGINT NOT NULL,
    -- The attributes that are kept, as JSON.
    body          TEXT NOT NULL,
    version       BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    changed_ms    BIGINT NOT NULL,
    UNIQUE (client, user_name_key)
);
CREATE INDEX scim_users_of_person ON scim_users (person);
CREATE INDEX scim_users_by_external_id ON scim_users (client, external_id);

CREATE TABLE scim_groups (
    id           TEXT PRIMARY KEY,
    client       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    external_id  TEXT,
    version      BIGINT NOT NULL,
    created_ms   BIGINT NOT NULL,
    changed_ms   BIGINT NOT NULL
);
CREATE INDEX scim_groups_by_name ON scim_groups (client, display_name);

CREATE TABLE scim_members (
    group_id TEXT NOT NULL REFERENCES scim_groups (id),
    user_id  TEXT NOT NULL REFERENCES scim_users (id),
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX scim_members_of_user ON scim_members (user_id);
