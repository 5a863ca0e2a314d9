//! Messages over NATS: as requests, or published to a stream.

use super::{
    super::broker::{request_subject, stream_subject},
    Answer,
};
use async_nats::{Client, HeaderMap, Request, jetstream};
use serde_json::Value;
use std::time::Duration;

/// How long a reply or an acknowledgement may take. One that was under way when the gateway was killed never comes.
const REPLY: Duration = Duration::from_secs(2);

/// Requests and publishes messages.
pub struct Nats {
    client: Client,
    streams: jetstream::Context,
}

impl Nats {
    /// To the gateways and streams behind that client.
    pub fn new(client: Client) -> Self {
        let mut streams = jetstream::new(client.clone());
        streams.set_timeout(REPLY);
        Self { client, streams }
    }

    /// Tries once. Sent again, it is the same message, by its `Nats-Msg-Id`.
    pub async fn request(&self, uid: &str, payload: &Value) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("Octohooks-Event-Type", "sms.status");
        headers.insert("Octohooks-Uid", uid);
        headers.insert("Nats-Msg-Id", uid);
        let request = Request::new().headers(headers).payload(payload.to_string().into());
        let sent = self.client.send_request(request_subject(), request.timeout(Some(REPLY))).await;
        let Ok(reply) = sent else { return Answer::Again };
        let code = reply.headers.as_ref().and_then(|all| all.get("Nats-Service-Error-Code"));
        match code.map(async_nats::HeaderValue::as_str) {
            None => Answer::Safe,
            Some(code) if code.starts_with('5') => Answer::Again,
            Some(_) => Answer::Refused(String::from_utf8_lossy(&reply.payload).into_owned()),
        }
    }

    /// Tries once. The stream knows a message that it has by its `Nats-Msg-Id`.
    pub async fn publish(&self, uid: &str, payload: &Value) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", uid);
        let payload = payload.to_string().into();
        let sent = self.streams.publish_with_headers(stream_subject(), headers, payload).await;
        let Ok(acknowledged) = sent else { return Answer::Again };
        match acknowledged.await {
            Ok(_) => Answer::Safe,
            Err(_) => Answer::Again,
        }
    }
}
