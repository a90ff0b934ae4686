-- Tells this database from every other, for what is kept beside it. Set when it is first opened.
ALTER TABLE deployment ADD COLUMN id BLOB;

-- What was done, numbered without gaps. `body` is the event as JSON, and the text that was hashed; the columns beside it
-- are for finding it. `hash` is SHA-256 of the hash before it and of the body.
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    organization BLOB,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_organization ON audit (organization, number) WHERE organization IS NOT NULL;
CREATE INDEX audit_by_target ON audit (target, number);
CREATE INDEX audit_by_actor ON audit (actor, number);
CREATE TRIGGER audit_is_never_altered BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Answers to requests that carried an Idempotency-Key, for a day. `answer` is encrypted under a key that only the
-- caller's credential gives.
CREATE TABLE idempotency (
    caller TEXT NOT NULL,
    key_digest BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (caller, key_digest)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Keys that were made with a test key live for a day.
CREATE INDEX test_keys_by_age ON keys (created_at) WHERE environment = 'test';
