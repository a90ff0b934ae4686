mod create;
mod list;
mod revoke;
mod rotate;
mod show;
mod update;
