mod alerts;
mod usage;
