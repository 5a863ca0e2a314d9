//! Metrics, for Prometheus: a counter and a histogram per step of the path. The stages hold their handles; nothing on
//! the hot path looks a name up.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds, from a quick plugin call to a slow receiver.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
    5.0, 15.0, 60.0,
];
/// Operations in one commit.
const OPERATIONS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// How often samples are folded into their buckets; until then each takes memory.
const UPKEEP: Duration = Duration::from_secs(2);

/// Keeps the recorder's memory small, for as long as the gateway runs.
pub async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Installs the recorder. An error is one line for the operator.
pub fn start() -> Result<PrometheusHandle, String> {
    let text =
        |error: metrics_exporter_prometheus::BuildError| format!("metrics cannot start: {error}");
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_operations".into()), &OPERATIONS))
        .map_err(text)?
        .install_recorder()
        .map_err(text)
}
