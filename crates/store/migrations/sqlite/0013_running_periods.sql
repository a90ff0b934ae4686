-- Billing periods that go on though the calendar of their account was changed while they ran: by number, and the first hour
-- whose units count.
CREATE TABLE running_periods (
    organization BLOB NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    number INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (organization, api)
) STRICT;
