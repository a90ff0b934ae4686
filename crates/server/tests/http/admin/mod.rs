mod apis;
mod audit;
mod bulk_revoke;
mod credentials;
mod import;
mod keys;
mod organizations;
mod usage;
