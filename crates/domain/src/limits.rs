//! Every limit has a name and a value, and they all stand here.

/// Longest name of a key or an organization, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Longest reason given with a revocation, in characters.
pub const REASON_CHARS_MAX: usize = 200;
/// Largest metadata of a key, as JSON text.
pub const METADATA_BYTES_MAX: usize = 4096;
/// Deepest nesting of a key's metadata, the object itself included.
pub const METADATA_LEVELS_MAX: usize = 16;
/// Longest base path of an api.
pub const BASE_PATH_BYTES_MAX: usize = 128;
/// Most scopes one api may define: the engine keeps a key's scopes in one 64-bit word.
pub const SCOPES_PER_API_MAX: usize = 60;
/// Most rules in each list of a key's restrictions.
pub const RULES_PER_RESTRICTION_MAX: usize = 50;
/// Most key formats of one api.
pub const FORMATS_PER_API_MAX: usize = 16;
/// Most endpoints of one api.
pub const ENDPOINTS_PER_API_MAX: usize = 1000;
/// Most apis on one deployment.
pub const APIS_MAX: usize = 1000;
/// Most keys of one organization in one api that are neither revoked nor expired; of ephemeral ones as many again. A plan
/// may allow fewer.
pub const KEYS_PER_ORGANIZATION_MAX: i64 = 10_000;
/// Most keys of one organization in one api, those that ended included; of ephemeral ones as many again. What a tenant
/// can fill by making keys and ending them is this.
pub const KEYS_KEPT_PER_ORGANIZATION_MAX: i64 = 100_000;
/// So long a key that was revoked or has expired is shown; then it is forgotten.
pub const DEAD_KEYS_KEPT_DAYS: i64 = 90;
/// The same for ephemeral keys, of which there are many: one hour.
pub const DEAD_EPHEMERAL_KEYS_KEPT_SECONDS: i64 = 3600;
/// Longest overlap of a rotation: seven days.
pub const OVERLAP_SECONDS_MAX: i64 = 7 * 24 * 3600;
/// Longest life of an ephemeral key: one day.
pub const EPHEMERAL_TTL_SECONDS_MAX: i64 = 24 * 3600;
/// Longest life of a key that is made with a test key: one day, for test data is not kept (seed 003).
pub const MADE_WITH_TEST_KEY_TTL_SECONDS_MAX: i64 = 24 * 3600;
/// Longest life of any key that has one: ten years.
pub const TTL_SECONDS_MAX: i64 = 10 * 366 * 24 * 3600;
/// Rows in a page of a list, unless asked otherwise, and at most.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
/// See [`PAGE_ROWS_DEFAULT`].
pub const PAGE_ROWS_MAX: u32 = 200;
/// Largest body of a customer or admin request.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of one request that imports keys.
pub const IMPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most keys of one such request.
pub const IMPORT_KEYS_MAX: usize = 1000;
/// Largest definition file.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;
/// Least randomness of a key, in bits.
pub const RANDOM_BITS_MIN: f64 = 128.0;
/// Longest random part of a key, in characters.
pub const RANDOM_CHARS_MAX: usize = 256;
/// Most members of one organization, and as many open invitations.
pub const MEMBERS_PER_ORGANIZATION_MAX: usize = 1000;
/// How long the link of an invitation works: one day.
pub const INVITATION_TTL_SECONDS: i64 = 24 * 3600;
/// Most plans of one api.
pub const PLANS_PER_API_MAX: usize = 64;
/// Most rate limits of one plan.
pub const RATE_LIMITS_PER_PLAN_MAX: usize = 6;
/// Most units of a rate limit, and of its burst.
pub const RATE_LIMIT_UNITS_MAX: u64 = 1_000_000_000;
/// Longest window of a rate limit: one day. What is longer is a quota.
pub const RATE_LIMIT_SECONDS_MAX: u32 = 24 * 3600;
/// Longest time in which the burst of a rate limit comes back: a week.
pub const RATE_LIMIT_REFILL_SECONDS_MAX: u32 = 7 * 24 * 3600;
/// Largest quota, in units a billing period: the engine keeps what was used in 48 bits, with room to spare.
pub const QUOTA_MAX: u64 = 1 << 47;
/// Most units that one call can cost.
pub const COST_MAX: u32 = 100_000;
/// Longest grace period when a payment is due.
pub const GRACE_DAYS_MAX: u16 = 90;
/// Most webhook endpoints of one organization, and of the operator.
pub const WEBHOOKS_PER_ORGANIZATION_MAX: i64 = 20;
/// Longest URL of a webhook endpoint.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Longest overlap in which a webhook endpoint's old secret signs too: seven days.
pub const WEBHOOK_OVERLAP_SECONDS_MAX: i64 = 7 * 24 * 3600;
/// That overlap unless asked otherwise: one day.
pub const WEBHOOK_OVERLAP_SECONDS_DEFAULT: i64 = 24 * 3600;
/// Most deliveries that wait for one webhook endpoint; the oldest beyond it are given up.
pub const WEBHOOK_QUEUE_MAX: i64 = 5000;
/// Most deliveries that are replayed by one request.
pub const WEBHOOK_REPLAY_MAX: u32 = 1000;
/// Requests to webhook endpoints that are under way at once.
pub const WEBHOOKS_AT_ONCE_MAX: usize = 64;
/// Of those, the requests to one endpoint.
pub const WEBHOOKS_AT_ONCE_PER_ENDPOINT_MAX: usize = 4;
/// Largest part of a webhook endpoint's answer that is kept in the log.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 1024;
/// Attempts of one delivery that are shown, the newest.
pub const WEBHOOK_ATTEMPTS_SHOWN_MAX: u32 = 50;
/// Alerts of one kind that are open at once for an organization on an api: who has so many looks at the list.
pub const ALERTS_OPEN_MAX: i64 = 100;
/// How long an alert is remembered when it is closed.
pub const ALERTS_KEPT_DAYS: i64 = 365;
/// How long a delivery or a mail is remembered when it is over.
pub const DELIVERY_LOG_DAYS: i64 = 30;
/// Mails that wait to be sent; further ones are refused.
pub const MAIL_QUEUE_MAX: i64 = 10_000;
/// Mails that are sent at once.
pub const MAILS_AT_ONCE_MAX: usize = 4;
/// Longest e-mail address (RFC 5321 with its erratum).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest subject of a mail.
pub const MAIL_SUBJECT_CHARS_MAX: usize = 200;
/// Longest text of a mail.
pub const MAIL_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most days of one report of usage.
pub const USAGE_REPORT_DAYS_MAX: u32 = 366;
/// Keys that a report of usage lists one by one; those with fewer calls are added up.
pub const USAGE_REPORT_KEYS_MAX: usize = 100;
/// Most lines of one answer that exports usage.
pub const USAGE_EXPORT_ROWS_MAX: u32 = 10_000;
/// For how many days usage is kept by the hour, at least and at most. A billing period must be kept whole, wherever its
/// days begin: what its limits were used for is read from it at a start.
pub const USAGE_HOURS_KEPT_DAYS: std::ops::RangeInclusive<u16> = 35..=400;
/// For how many days usage is kept by the day, at least and at most.
pub const USAGE_DAYS_KEPT_DAYS: std::ops::RangeInclusive<u16> = 35..=3660;

/// Networks of one key that are remembered: one that is used from more comes from everywhere.
pub const KEY_NETWORKS_MAX: usize = 64;
/// For so many days a network is remembered that a key is not used from any more.
pub const KEY_NETWORKS_KEPT_DAYS: i64 = 90;
/// Pairs of a prefix and a network in an hour that calls with unknown keys are counted by.
pub const UNKNOWN_KEY_NETWORKS_MAX: usize = 1000;
