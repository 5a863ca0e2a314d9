//! Sockets to receivers: idle and active ones are never more than their share of the descriptors.

use super::{
    receiver::scripted::{Say, Scripted},
    rig::{Gateway, until},
};
use serde_json::json;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// What the gateway may open, and what of that are sockets to receivers.
const DESCRIPTORS: u32 = 512;
const SOCKETS: usize = 160;

/// The highest descriptor that a process has. The system gives the lowest that is free, so that it tells how many there
/// were at once.
fn highest(process: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{process}/fd")).expect("Linux");
    let names = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.max().expect("some are open")
}

#[tokio::test]
async fn sockets_idle_and_active_stay_within_their_share() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.limit_descriptors(DESCRIPTORS);
    gateway.restart().await;
    // Each of them would be kept more than a dozen connections for.
    let mut receivers = Vec::new();
    for _ in 0..30 {
        receivers.push(Scripted::start([Say::Slow(Duration::from_millis(20), 200)]).await);
    }
    let urls: Vec<_> = receivers.iter().map(|receiver| receiver.url("/")).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    gateway.application("hooli", &urls).await;
    let (process, before) = (gateway.id(), highest(gateway.id()));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let watching = std::thread::spawn(move || {
        let mut most = 0;
        while !stopped.load(SeqCst) {
            most = most.max(highest(process));
        }
        most
    });
    for n in 0..40 {
        gateway.message("hooli", json!({ "n": n })).await;
    }
    until("all have come", async || {
        let heard: usize = receivers.iter().map(|receiver| receiver.heard().len()).sum();
        (heard == 30 * 40).then_some(())
    })
    .await;
    stop.store(true, SeqCst);
    let most = watching.join().expect("counts");
    // Beside them there are this test's own connections to the API, and the store's readers.
    assert!(most <= before + SOCKETS + 16, "{before} {most}");
    let open = || receivers.iter().map(Scripted::open).sum::<usize>();
    until("what is kept is within it", async || (open() <= SOCKETS).then_some(())).await;
    assert!(open() >= 30, "connections are kept: {}", open());
}
