-- What is counted before a key is made stands whole in one index, with everything that is asked of it: those who write
-- wait while it is counted.
CREATE INDEX keys_counted ON keys (organization, api, revoked_at, kind, expires_at, disabled);
DROP INDEX keys_not_revoked;

-- What is forgotten is found by when it ended, ephemeral keys apart: they are forgotten much sooner than the others.
CREATE INDEX ephemeral_keys_by_revocation ON keys (revoked_at) WHERE kind = 'ephemeral' AND revoked_at IS NOT NULL;
CREATE INDEX ephemeral_keys_by_expiry ON keys (expires_at) WHERE kind = 'ephemeral' AND expires_at IS NOT NULL;
DROP INDEX keys_by_revocation;
CREATE INDEX keys_by_revocation ON keys (revoked_at, id) WHERE revoked_at IS NOT NULL;

-- Nobody looks for a person in all organizations.
DROP INDEX members_by_email;
