-- Digests that a key had and no longer has, so that no import takes them for new. They go with their key.
CREATE TABLE retired_digests (
    digest BYTEA NOT NULL PRIMARY KEY,
    key_id BYTEA NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    retired_at BIGINT NOT NULL
);
CREATE INDEX retired_digests_by_key ON retired_digests (key_id);
