ALTER TABLE organizations ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';

-- An organization's plan on an api and its billing state, as the billing system said last.
CREATE TABLE subscriptions (
    organization BLOB NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    api_access INTEGER NOT NULL,
    anchor_day INTEGER,
    event_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (organization, api)
) STRICT;
CREATE INDEX subscriptions_by_plan ON subscriptions (api, plan);
