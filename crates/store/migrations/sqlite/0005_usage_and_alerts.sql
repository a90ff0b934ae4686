-- Usage in the order in which it is read, beside nothing else. `parent` is the key that an ephemeral key was made with,
-- which is forgotten sooner than what it used.
ALTER TABLE usage RENAME TO usage_before;
CREATE TABLE usage (
    organization BLOB NOT NULL,
    api TEXT NOT NULL,
    hour INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    total INTEGER NOT NULL,
    parent BLOB,
    PRIMARY KEY (organization, api, hour, key_id, scope, outcome, incarnation)
) STRICT, WITHOUT ROWID;

-- Billable units of an account, an organization on an api, by the hour: what all incarnations of its keys add up to.
CREATE TABLE usage_account_hours (
    organization BLOB NOT NULL,
    api TEXT NOT NULL,
    hour INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (organization, api, hour)
) STRICT, WITHOUT ROWID;
-- With the total that it comes from, in whichever statement that is written.
CREATE TRIGGER usage_adds_units AFTER INSERT ON usage WHEN NEW.outcome IN ('allowed', 'extra_units')
BEGIN
    INSERT INTO usage_account_hours (organization, api, hour, units)
    VALUES (NEW.organization, NEW.api, NEW.hour, NEW.total)
    ON CONFLICT (organization, api, hour) DO UPDATE SET units = units + excluded.units;
END;
CREATE TRIGGER usage_raises_units AFTER UPDATE OF total ON usage WHEN NEW.outcome IN ('allowed', 'extra_units')
BEGIN
    UPDATE usage_account_hours SET units = units + NEW.total - OLD.total
    WHERE organization = NEW.organization AND api = NEW.api AND hour = NEW.hour;
END;

INSERT INTO usage (organization, api, hour, key_id, scope, outcome, incarnation, total)
SELECT organization, api, hour, key_id, scope, outcome, incarnation, total FROM usage_before
ORDER BY organization, api, hour, key_id, scope, outcome, incarnation;
DROP TABLE usage_before;

-- Usage of days that are over. `day` is the first hour of the organization's day.
CREATE TABLE usage_days (
    organization BLOB NOT NULL,
    api TEXT NOT NULL,
    day INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    scope TEXT NOT NULL,
    outcome TEXT NOT NULL,
    total INTEGER NOT NULL,
    parent BLOB,
    PRIMARY KEY (organization, api, day, key_id, scope, outcome)
) STRICT, WITHOUT ROWID;

-- How far an account's hours have become days. All are hours since the Unix epoch.
CREATE TABLE usage_accounts (
    organization BLOB NOT NULL,
    api TEXT NOT NULL,
    -- Hours before it are in days, and days from it on mean nothing yet.
    rolled_through INTEGER NOT NULL,
    -- The days from it on are those of `time_zone`.
    aligned_since INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    -- Hours before it are in days only.
    pruned_before INTEGER NOT NULL,
    -- The end of the day that is being added up; zero when what was added up is not complete any more.
    rolling_to INTEGER NOT NULL,
    PRIMARY KEY (organization, api)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_accounts (organization, api, rolled_through, aligned_since, time_zone, pruned_before, rolling_to)
SELECT organization, api, MIN(hour), MIN(hour), '', 0, 0 FROM usage GROUP BY organization, api;

-- What is unusual, or about to happen. Open until `closed_at`; of an account, key and kind, one at a time is.
CREATE TABLE alerts (
    id BLOB NOT NULL PRIMARY KEY,
    organization BLOB NOT NULL REFERENCES organizations (id),
    api TEXT NOT NULL REFERENCES apis (name),
    -- Empty where it is about the whole account.
    key_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    -- When it was last told of.
    last_repeated_at INTEGER NOT NULL,
    -- When what it is about was last so.
    last_seen_at INTEGER NOT NULL,
    closed_at INTEGER,
    closed_by TEXT,
    detail TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX alerts_open ON alerts (organization, api, key_id, kind) WHERE closed_at IS NULL;
CREATE INDEX alerts_by_subject ON alerts (organization, api, key_id, kind, id);
CREATE INDEX alerts_by_organization ON alerts (organization, id);
CREATE INDEX alerts_by_end ON alerts (closed_at) WHERE closed_at IS NOT NULL;

-- Which kinds an organization wants, and what is unusual to it, as JSON.
CREATE TABLE alert_settings (
    organization BLOB NOT NULL PRIMARY KEY REFERENCES organizations (id),
    body TEXT NOT NULL
) STRICT;
