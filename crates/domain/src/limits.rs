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
/// Most keys of one organization in one api that are neither revoked nor expired.
pub const KEYS_PER_ORGANIZATION_MAX: i64 = 10_000;
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
