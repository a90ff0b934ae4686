-- Where events are sent. `secret` and `old_secret` are encrypted: signing needs them in clear, the database must not
-- show them. One that was deleted has none any more, and goes when its deliveries have gone.
CREATE TABLE webhook_endpoints (
    id BYTEA NOT NULL PRIMARY KEY,
    organization BYTEA REFERENCES organizations (id),
    url TEXT NOT NULL,
    description TEXT,
    events TEXT NOT NULL,
    secret BYTEA NOT NULL,
    old_secret BYTEA,
    overlap_ends_at BIGINT,
    disabled TEXT,
    failing_since BIGINT,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX webhook_endpoints_by_organization ON webhook_endpoints (organization, id);

-- An event on its way to an endpoint: written in the transaction in which it happened. `round` counts the attempts since
-- it was queued, `attempts` all of them. It has a `next_at` while it is pending and a `finished_at` when it is not.
CREATE TABLE webhook_deliveries (
    endpoint BYTEA NOT NULL REFERENCES webhook_endpoints (id),
    event BYTEA NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    round BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    reason TEXT,
    PRIMARY KEY (endpoint, event)
);
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE webhook_attempts (
    endpoint BYTEA NOT NULL,
    event BYTEA NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    milliseconds BIGINT NOT NULL,
    status BIGINT,
    reason TEXT,
    answer TEXT,
    PRIMARY KEY (endpoint, event, number),
    FOREIGN KEY (endpoint, event) REFERENCES webhook_deliveries (endpoint, event) ON DELETE CASCADE
);

-- Mails on their way. `content` is encrypted, for there may be a one-time link in it, and goes when the mail has gone.
CREATE TABLE mails (
    id BYTEA NOT NULL PRIMARY KEY,
    content BYTEA,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    reason TEXT
);
CREATE INDEX mails_by_time ON mails (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX mails_by_age ON mails (finished_at) WHERE finished_at IS NOT NULL;

-- Up to which expiry events were made, and of which key the last was.
ALTER TABLE deployment ADD COLUMN expired_until BIGINT;
ALTER TABLE deployment ADD COLUMN expired_key BYTEA;
CREATE INDEX keys_by_expiry ON keys (expires_at, id) WHERE expires_at IS NOT NULL;
