-- Digests that a key had and no longer has, so that no import takes them for new. They go with their key.
CREATE TABLE retired_digests (
    digest BLOB NOT NULL PRIMARY KEY,
    key_id BLOB NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    retired_at INTEGER NOT NULL
) STRICT;
CREATE INDEX retired_digests_by_key ON retired_digests (key_id);
