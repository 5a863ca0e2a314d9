//! The client, on a world that never leaves loopback.

mod connections;
mod hostile;
mod logins;
mod proxies;
mod secure;
mod world;

#[allow(dead_code, reason = "shared with the gateway's own tests")]
#[path = "../../../tests/gateway/receiver/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "shared with the gateway's own tests")]
#[path = "../../../tests/gateway/receiver/scripted.rs"]
mod scripted;

#[allow(dead_code, reason = "shared with the gateway's own tests")]
#[path = "../../../tests/gateway/receiver/names.rs"]
mod names;
