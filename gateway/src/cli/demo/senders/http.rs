//! Messages over HTTP, as the README shows with curl.

use super::{
    super::gateway::{APPLICATION, KEY},
    Answer,
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Posts messages.
pub struct Http {
    client: Client,
    url: String,
}

impl Http {
    /// To that gateway.
    pub fn new(client: Client, gateway: SocketAddr) -> Self {
        let url = format!("http://{gateway}/api/v1/applications/{APPLICATION}/messages");
        Self { client, url }
    }

    /// Tries once.
    pub async fn post(&self, uid: &str, payload: &Value) -> Answer {
        let body = json!({ "eventType": "sms.status", "uid": uid, "payload": payload });
        let request = self.client.post(&self.url).header("authorization", KEY);
        match request.body(body.to_string()).send().await.map(|answer| answer.status()) {
            // The second: an earlier try was accepted, and its answer lost.
            Ok(StatusCode::OK | StatusCode::CONFLICT) => Answer::Safe,
            Ok(status) if !status.is_server_error() => Answer::Refused(status.to_string()),
            Ok(_) | Err(_) => Answer::Again,
        }
    }
}
