-- `parent` is the key that an ephemeral key was made with, which is forgotten sooner than what it used.
ALTER TABLE usage ADD COLUMN parent BYTEA;

-- Billable units of an account, an organization on an api, by the hour: what all incarnations of its keys add up to.
CREATE TABLE usage_account_hours (
    organization BYTEA NOT NULL,
    api TEXT NOT NULL,
    hour BIGINT NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (organization, api, hour)
);
INSERT INTO usage_account_hours (organization, api, hour, units)
SELECT organization, api, hour, CAST(SUM(total) AS BIGINT) FROM usage WHERE outcome IN ('allowed', 'extra_units')
GROUP BY organization, api, hour;
-- With the total that it comes from, in whichever statement that is written.
CREATE FUNCTION usage_adds_units() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_account_hours AS account (organization, api, hour, units)
    VALUES (NEW.organization, NEW.api, NEW.hour, NEW.total)
    ON CONFLICT (organization, api, hour) DO UPDATE SET units = account.units + excluded.units;
    RETURN NULL;
END $$;
CREATE FUNCTION usage_raises_units() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_account_hours SET units = units + NEW.total - OLD.total
    WHERE organization = NEW.organization AND api = NEW.api AND hour = NEW.hour;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_adds_units AFTER INSERT ON usage FOR EACH ROW
WHEN (NEW.outcome IN ('allowed', 'extra_units')) EXECUTE FUNCTION usage_adds_units();
CREATE TRIGGER usage_raises_units AFTER UPDATE OF total ON usage FOR EACH ROW
WHEN (NEW.outcome IN ('allowed', 'extra_units')) EXECUTE FUNCTION usage_raises_units();

-- Usage of days that are over. `day` is the first hour of the organization's day.
CREATE TABLE usage_days (
    organization BYTEA NOT NULL,
    api TEXT NOT NULL,
    day BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    scope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    total BIGINT NOT NULL,
    parent BYTEA,
    PRIMARY KEY (organization, api, day, key_id, scope, outcome)
);

-- How far an account's hours have become days. All are hours since the Unix epoch.
CREATE TABLE usage_accounts (
    organization BYTEA NOT NULL,
    api TEXT NOT NULL,
    -- Hours before it are in days, and days from it on mean nothing yet.
    rolled_through BIGINT NOT NULL,
    -- The days from it on are those of `time_zone`.
    aligned_since BIGINT NOT NULL,
    time_zone TEXT NOT NULL,
    -- Hours before it are in days only.
    pruned_before BIGINT NOT NULL,
    -- The end of the day that is being added up; zero when what was added up is not complete any more.
    rolling_to BIGINT NOT NULL,
    PRIMARY KEY (organization, api)
);
INSERT INTO usage_accounts (organization, api, rolled_through, aligned_since, time_zone, pruned_before, rolling_to)
SELECT organization, api, MIN(hour), MIN(hour), '', 0, 0 FROM usage GROUP BY organization, api;

-- What is unusual, or about to happen. Open until `closed_at`; of an account, key and kind, one at a time is.
CREATE TABLE alerts (
    id BYTEA NOT NULL PRIMARY KEY,
    organization BYTEA NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    -- Empty where it is about the whole account.
    key_id BYTEA NOT NULL,
    kind TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    -- When it was last told of.
    last_repeated_at BIGINT NOT NULL,
    -- When what it is about was last so.
    last_seen_at BIGINT NOT NULL,
    closed_at BIGINT,
    closed_by TEXT,
    detail TEXT NOT NULL
);
CREATE UNIQUE INDEX alerts_open ON alerts (organization, api, key_id, kind) WHERE closed_at IS NULL;
CREATE INDEX alerts_by_subject ON alerts (organization, api, key_id, kind, id);
CREATE INDEX alerts_by_organization ON alerts (organization, id);
CREATE INDEX alerts_by_end ON alerts (closed_at) WHERE closed_at IS NOT NULL;

-- Which kinds an organization wants, and what is unusual to it, as JSON.
CREATE TABLE alert_settings (
    organization BYTEA NOT NULL PRIMARY KEY REFERENCES organizations (id),
    body TEXT NOT NULL
);
