mod apis;
mod credentials;
mod import;
mod keys;
mod organizations;
