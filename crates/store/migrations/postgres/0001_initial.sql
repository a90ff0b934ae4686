-- Ids are the 16 bytes of the id, times are microseconds since the Unix epoch, lists and objects are JSON text.

-- The one row that orders everything: a mutation raises it inside its own transaction.
CREATE TABLE deployment (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    revision BIGINT NOT NULL,
    incarnation BIGINT NOT NULL
);
INSERT INTO deployment (only_row, revision, incarnation) VALUES (1, 0, 0);

-- The feed: what each transaction changed, as a JSON list of changes.
CREATE TABLE changes (
    revision BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE apis (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE TABLE organizations (
    id BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE TABLE keys (
    id BYTEA NOT NULL PRIMARY KEY,
    organization BYTEA NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hint TEXT NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    old_digest BYTEA UNIQUE,
    overlap_ends_at BIGINT,
    scopes TEXT NOT NULL,
    restrictions TEXT,
    parent_id BYTEA,
    metadata TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    revoked_at BIGINT,
    revoked_reason TEXT,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    rotated_at BIGINT,
    last_used BIGINT,
    revision BIGINT NOT NULL
);
CREATE INDEX keys_by_organization ON keys (organization, api, id);
CREATE INDEX keys_by_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_prefix ON keys (api, prefix);
CREATE INDEX ephemeral_keys_by_expiry ON keys (expires_at) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_overlap ON keys (api, overlap_ends_at) WHERE overlap_ends_at IS NOT NULL;

CREATE TABLE verifiers (
    id BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE admin_tokens (
    id BYTEA NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- A G-counter: each process owns the rows of its incarnation and writes absolute totals into them.
CREATE TABLE usage (
    organization BYTEA NOT NULL,
    api TEXT NOT NULL,
    hour BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    scope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    incarnation BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (organization, api, hour, key_id, scope, outcome, incarnation)
);
