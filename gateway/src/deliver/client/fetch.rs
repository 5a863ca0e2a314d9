//! Requests that plugins send: the same client as deliveries', with the same guard, and whole answers within bounds.

use super::{Client, Draft, Trouble, usual};
use crate::{
    model::attempt::Failure,
    plugin::{Request, Response, Unsent},
};
use http_body_util::BodyExt;
use std::time::Duration;

impl Client {
    /// Sends a plugin's request and reads the whole answer. Runs on the runtime that it is polled on, which must have its
    /// network on.
    pub async fn fetch(&self, request: Request) -> Result<Response, Unsent> {
        let timeout = request.timeout.min(self.longest());
        match tokio::time::timeout(timeout, self.whole(&request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Unsent::Timeout),
        }
    }

    /// No request takes longer than a delivery may.
    const fn longest(&self) -> Duration {
        self.timeout
    }

    async fn whole(&self, request: &Request) -> Result<Response, Unsent> {
        let route = self.route(&request.url).map_err(unsent)?;
        let draft = || Draft {
            method: request.method.clone(),
            headers: usual(request.headers.clone()),
            body: request.body.clone(),
        };
        let (response, lease) = self.connector.exchange(&route, draft).await.map_err(unsent)?;
        let (status, keep) = (response.status().as_u16(), super::idle(&response));
        let mut left = request.bytes;
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
        let (mut incoming, mut body) = (response.into_body(), Vec::new());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| unsent(Trouble::of(&error, false)))?;
            if let Ok(chunk) = frame.into_data() {
                take(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
        }
        if let Some(keep) = keep {
            lease.done(keep);
        }
        Ok(Response { status, headers, body })
    }
}

fn unsent(Trouble { class, detail, .. }: Trouble) -> Unsent {
    match class {
        Failure::Guard => Unsent::Refused(detail),
        Failure::Timeout => Unsent::Timeout,
        _ => Unsent::Failed(detail),
    }
}
