//! What operators look at: whether it lives, whether it is ready, what it has counted.

mod catalog;
pub(crate) mod health;
mod metrics;

pub(crate) use metrics::{Metrics, describe_scrape, scrape};
