ALTER TABLE organizations ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';

-- An organization's plan on an api and its billing state, as the billing system said last.
CREATE TABLE subscriptions (
    organization BYTEA NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    state_since BIGINT NOT NULL,
    api_access BOOLEAN NOT NULL,
    anchor_day BIGINT,
    event_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (organization, api)
);
CREATE INDEX subscriptions_by_plan ON subscriptions (api, plan);
