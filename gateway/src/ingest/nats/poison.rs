//! Messages of a stream whose headers the client of NATS cannot read. It takes them for a broken connection, or ends:
//! they would come again and again, and nothing else with them. They are found among what was delivered and not
//! acknowledged, in the answers of JetStream's API, which are JSON, and given up like whatever can never be accepted.

use super::dead_letter::Letter;
use crate::{model::subject::covers, web::error::ApiError};
use async_nats::{
    HeaderName, HeaderValue, StatusCode,
    jetstream::{self, consumer::Info},
};
use axum::http::StatusCode as HttpStatus;
use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

/// How many messages are looked at, from the first that is not acknowledged, and how many of them at once.
const SCANNED: usize = 16 << 10;
const AT_ONCE: usize = 16;
/// What the headers begin with.
const VERSION: &str = "NATS/1.0";

#[derive(Serialize)]
struct Get {
    seq: u64,
}

#[derive(Deserialize)]
struct Got {
    message: Option<Raw>,
}

/// A message as JetStream's API shows it.
#[derive(Deserialize)]
struct Raw {
    subject: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

/// What is delivered to the consumer, not acknowledged, and cannot be read.
pub async fn find(
    context: &jetstream::Context,
    consumer: &Info,
    filters: &[String],
) -> Result<Vec<Letter>, String> {
    let (stream, durable) = (&consumer.stream_name, &consumer.name);
    let pending = consumer.ack_floor.stream_sequence + 1..=consumer.delivered.stream_sequence;
    let looked = stream::iter(pending.take(SCANNED)).map(async |sequence| {
        let got: Got = context
            .request(format!("STREAM.MSG.GET.{stream}"), &Get { seq: sequence })
            .await
            .map_err(|error| error.to_string())?;
        let Some(raw) = got.message else { return Ok(None) };
        let is_taken = filters.is_empty() || filters.iter().any(|one| covers(one, &raw.subject));
        let headers = BASE64.decode(&raw.hdrs).unwrap_or_default();
        let wrong = match readable(&headers) {
            Err(wrong) if is_taken => wrong,
            _ => return Ok::<_, String>(None),
        };
        let message = format!("the headers are not as NATS writes them: {wrong}");
        Ok(Some(Letter {
            subject: raw.subject,
            headers: legible(&headers),
            payload: Bytes::from(BASE64.decode(&raw.data).unwrap_or_default()),
            sequence,
            // The server goes by the stream's sequence number alone.
            ack: format!("$JS.ACK.{stream}.{durable}.1.{sequence}.0.0.0").into(),
            error: ApiError::new(HttpStatus::BAD_REQUEST, "malformed", message),
        }))
    });
    looked.buffered(AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
}

/// Whether the client can read such headers: it is as strict as the client is.
fn readable(headers: &[u8]) -> Result<(), &'static str> {
    if headers.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(headers).map_err(|_| "they are no UTF-8")?;
    let mut lines = text.lines().peekable();
    let version = lines.next().and_then(|line| line.strip_prefix(VERSION));
    let status = version.ok_or("they do not begin with NATS/1.0")?.trim();
    let status = status.split_once(' ').map_or(status, |(status, _)| status.trim());
    if !status.is_empty() && status.parse::<StatusCode>().is_err() {
        return Err("the status is no number");
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or("a line has no colon")?;
        name.parse::<HeaderName>().map_err(|_| "a name has an illegal character")?;
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        value.trim_end().parse::<HeaderValue>().map_err(|_| "a value has a line's end in it")?;
    }
    Ok(())
}

/// What can be kept of headers that the client cannot read.
fn legible(headers: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(headers);
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.parse::<HeaderName>().ok()?;
        Some((name.to_owned(), value.trim().replace(char::is_control, " ")))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_read_is_known_and_what_can_be_kept_is_kept() {
        for (headers, wrong, kept) in [
            (&b"NATS/1.0\r\nX: a\r\nY:\r\n b\r\n\r\n"[..], None, 2),
            (b"", None, 0),
            (b"NATS/1.0 503\r\n\r\n", None, 0),
            (b"NATS/1.0 503 No Responders\r\nX: a\r\r\n\r\n", None, 1),
            (b"NATS/1.0\r\nX: a\rb\r\n\r\n", Some("line's end"), 1),
            (b"NATS/1.0\r\nX: a\r\n \rb\r\n\r\n", Some("line's end"), 1),
            (b"NATS/1.0\r\nX: \xff\r\n\r\n", Some("UTF-8"), 1),
            (b"NATS/1.0\r\nX: a\r\nnothing\r\n\r\n", Some("colon"), 1),
            (b"NATS/1.0\r\nA\x01: x\r\nX: a\r\n\r\n", Some("illegal"), 1),
            (b"NATS/1.0\r\n: x\r\n\r\n", None, 1),
            (b"NATS/1.0 abc\r\n\r\n", Some("status"), 0),
            (b"HTTP/1.1\r\nX: y\r\n\r\n", Some("NATS/1.0"), 1),
        ] {
            let text = String::from_utf8_lossy(headers);
            match (readable(headers), wrong) {
                (Ok(()), None) => {}
                (Err(said), Some(part)) => assert!(said.contains(part), "{text}: {said}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
            assert_eq!(legible(headers).len(), kept, "{text}");
        }
    }
}
