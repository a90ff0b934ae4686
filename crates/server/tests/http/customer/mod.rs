mod account;
mod api_keys;
mod routing;
