-- What is counted before a key is made stands whole in one index, with everything that is asked of it: those who write
-- wait while it is counted.
CREATE INDEX keys_counted ON keys (organization, api, revoked_at, kind, expires_at, disabled);
DROP INDEX keys_not_revoked;
