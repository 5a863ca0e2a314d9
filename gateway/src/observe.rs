//! What operators see of a running gateway: logs and metrics.

pub mod logs;
pub mod metrics;
