-- Ids are the 16 bytes of the id, times are microseconds since the Unix epoch, lists and objects are JSON text.

-- The one row that orders everything: a mutation raises it inside its own transaction.
CREATE TABLE deployment (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL,
    incarnation INTEGER NOT NULL
) STRICT;
INSERT INTO deployment (only_row, revision, incarnation) VALUES (1, 0, 0);

-- The feed: what each transaction changed, as a JSON list of changes.
CREATE TABLE changes (
    revision INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE apis (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hint TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    old_digest BLOB UNIQUE,
    overlap_ends_at INTEGER,
    scopes TEXT NOT NULL,
    restrictions TEXT,
    parent_id BLOB,
    metadata TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_reason TEXT,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    rotated_at INTEGER,
    last_used INTEGER,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX keys_by_organization ON keys (organization, api, id);
CREATE INDEX keys_by_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_prefix ON keys (api, prefix);
CREATE INDEX ephemeral_keys_by_expiry ON keys (expires_at) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_overlap ON keys (api, overlap_ends_at) WHERE overlap_ends_at IS NOT NULL;

CREATE TABLE verifiers (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TABLE admin_tokens (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- A G-counter: each process owns the rows of its incarnation and writes absolute totals into them.
CREATE TABLE usage (
    organization BLOB NOT NULL,
    api TEXT NOT NULL,
    hour INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (organization, api, hour, key_id, scope, outcome, incarnation)
) STRICT;
