-- Keys that ended long ago are forgotten; their digests are not, or an import would take them for new. So these rows
-- say themselves whose they were, and outlive their key.
CREATE TABLE remembered_digests (
    digest BYTEA NOT NULL PRIMARY KEY,
    key_id BYTEA NOT NULL,
    organization BYTEA NOT NULL,
    api TEXT NOT NULL,
    retired_at BIGINT NOT NULL
);
INSERT INTO remembered_digests (digest, key_id, organization, api, retired_at)
SELECT retired_digests.digest, key_id, organization, api, retired_at
FROM retired_digests JOIN keys ON keys.id = key_id;
DROP TABLE retired_digests;
ALTER TABLE remembered_digests RENAME TO retired_digests;
CREATE INDEX retired_digests_by_key ON retired_digests (key_id);

-- What is counted against a plan's key limit, without looking at keys that ended.
CREATE INDEX keys_not_revoked ON keys (organization, api, kind, expires_at) WHERE revoked_at IS NULL;
-- What is forgotten.
CREATE INDEX keys_by_revocation ON keys (revoked_at) WHERE revoked_at IS NOT NULL;
DROP INDEX ephemeral_keys_by_expiry;
-- Who made which keys: only keys and members are looked for.
CREATE INDEX keys_by_maker ON keys (created_by) WHERE created_by <> 'operator';
