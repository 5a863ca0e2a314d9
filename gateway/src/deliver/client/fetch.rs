//! Requests that plugins send: the same client as deliveries', with the same guard, and whole answers within bounds.

use super::{Client, causes, describe};
use crate::plugin::{Request, Response, Unsent};
use reqwest::Body;
use std::time::Duration;

impl Client {
    /// Sends a plugin's request and reads the whole answer. Runs on the runtime that it is polled on, which must have its
    /// network on.
    pub async fn fetch(&self, request: Request) -> Result<Response, Unsent> {
        self.guard
            .check_url(&request.url)
            .map_err(|refusal| Unsent::Refused(refusal.to_string()))?;
        let (timeout, room) = (request.timeout, request.bytes);
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        *sent.body_mut() = Some(Body::from(request.body));
        match tokio::time::timeout(timeout.min(self.longest()), self.whole(sent, room)).await {
            Ok(answered) => answered,
            Err(_) => Err(Unsent::Timeout),
        }
    }

    /// No request takes longer than a delivery may.
    const fn longest(&self) -> Duration {
        self.timeout
    }

    async fn whole(&self, request: reqwest::Request, room: usize) -> Result<Response, Unsent> {
        let mut response = self.http.execute(request).await.map_err(|error| unsent(&error))?;
        let status = response.status().as_u16();
        let mut left = room;
        let mut take = |bytes: usize| match left.checked_sub(bytes) {
            Some(rest) => {
                left = rest;
                Ok(())
            }
            None => Err(Unsent::TooLarge),
        };
        let mut headers = Vec::with_capacity(response.headers().len());
        for (name, value) in response.headers() {
            take(name.as_str().len() + value.len())?;
            if let Ok(value) = str::from_utf8(value.as_bytes()) {
                headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unsent(&error))? {
            take(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

fn unsent(error: &reqwest::Error) -> Unsent {
    if causes(error).any(|cause| cause.is::<super::Refusal>()) {
        return Unsent::Refused(describe(error));
    }
    if error.is_timeout() { Unsent::Timeout } else { Unsent::Failed(describe(error)) }
}
