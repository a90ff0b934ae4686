mod apis;
mod audit;
mod bulk_revoke;
mod credentials;
mod keys;
mod organizations;
