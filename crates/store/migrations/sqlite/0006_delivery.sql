-- Where events are sent. `secret` and `old_secret` are encrypted: signing needs them in clear, the database must not
-- show them. One that was deleted has none any more, and goes when its deliveries have gone.
CREATE TABLE webhook_endpoints (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB REFERENCES organizations (id),
    url TEXT NOT NULL,
    description TEXT,
    events TEXT NOT NULL,
    secret BLOB NOT NULL,
    old_secret BLOB,
    overlap_ends_at INTEGER,
    disabled TEXT,
    failing_since INTEGER,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER,
    deleted_at INTEGER
) STRICT;
CREATE INDEX webhook_endpoints_by_organization ON webhook_endpoints (organization, id);

-- An event on its way to an endpoint: written in the transaction in which it happened. `round` counts the attempts since
-- it was queued, `attempts` all of them. It has a `next_at` while it is pending and a `finished_at` when it is not.
CREATE TABLE webhook_deliveries (
    endpoint BLOB NOT NULL REFERENCES webhook_endpoints (id),
    event BLOB NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    round INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    reason TEXT,
    PRIMARY KEY (endpoint, event)
) STRICT;
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE webhook_attempts (
    endpoint BLOB NOT NULL,
    event BLOB NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL,
    status INTEGER,
    reason TEXT,
    answer TEXT,
    PRIMARY KEY (endpoint, event, number),
    FOREIGN KEY (endpoint, event) REFERENCES webhook_deliveries (endpoint, event) ON DELETE CASCADE
) STRICT;

-- Mails on their way. `content` is encrypted, for there may be a one-time link in it, and goes when the mail has gone.
CREATE TABLE mails (
    id BLOB NOT NULL PRIMARY KEY,
    content BLOB,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    reason TEXT
) STRICT;
CREATE INDEX mails_by_time ON mails (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX mails_by_age ON mails (finished_at) WHERE finished_at IS NOT NULL;

-- Up to which expiry events were made, and of which key the last was.
ALTER TABLE deployment ADD COLUMN expired_until INTEGER;
ALTER TABLE deployment ADD COLUMN expired_key BLOB;
CREATE INDEX keys_by_expiry ON keys (expires_at, id) WHERE expires_at IS NOT NULL;
