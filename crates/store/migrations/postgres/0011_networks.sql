-- From which networks live keys were used: a /24 or a /48 in its usual notation. Rows that are old enough are forgotten, also
-- those of keys that are no more.
CREATE TABLE key_networks (
    key_id BYTEA NOT NULL,
    network TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (key_id, network)
);
CREATE INDEX key_networks_by_first ON key_networks (first_seen);
CREATE INDEX key_networks_by_last ON key_networks (last_seen);

-- Calls with keys that are nobody's, by the hour. The network is empty where it is not known, or there were too many.
CREATE TABLE unknown_keys (
    hour BIGINT NOT NULL,
    api TEXT NOT NULL,
    prefix TEXT NOT NULL,
    network TEXT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (hour, api, prefix, network)
);
