-- The people of an organization. One who is in several has a row in each, with the same address.
CREATE TABLE members (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (organization, email)
) STRICT;
CREATE INDEX members_by_email ON members (email);

-- Open invitations; one that was accepted or taken back is no more. Of the token in its link there is the digest.
CREATE TABLE invitations (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (organization, email)
) STRICT;
CREATE INDEX invitations_by_expiry ON invitations (expires_at);
