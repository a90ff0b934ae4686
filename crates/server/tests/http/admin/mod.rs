mod apis;
mod credentials;
mod keys;
mod organizations;
