//! What an endpoint has, as flags: all of it for a new one, and what changes of one that is there.

use clap::Args;
use serde_json::{Map, Value, json};

/// A new endpoint.
#[derive(Debug, Args)]
pub struct Fields {
    /// Where deliveries go: http(s)://… or nats://<subject>
    #[arg(long)]
    url: String,
    /// Do not deliver yet
    #[arg(long)]
    disabled: bool,
    /// A secret that signs; may be repeated
    #[arg(long = "secret")]
    secrets: Vec<String>,
    #[command(flatten)]
    optional: Optional,
}

/// What is to change.
#[derive(Debug, Args)]
pub struct Changes {
    /// Where deliveries go: http(s)://… or nats://<subject>
    #[arg(long)]
    url: Option<String>,
    /// Deliver again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Deliver no more; what waits stops
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    optional: Optional,
    /// Of every event type
    #[arg(long, conflicts_with = "event_types")]
    all_event_types: bool,
    /// Of all channels
    #[arg(long, conflicts_with = "channels")]
    all_channels: bool,
    /// No headers besides the gateway's
    #[arg(long, conflicts_with = "headers")]
    no_headers: bool,
    /// No rate limit
    #[arg(long, conflicts_with = "rate_limit")]
    no_rate_limit: bool,
    /// No limit of its own on requests under way
    #[arg(long, conflicts_with = "max_in_flight")]
    no_max_in_flight: bool,
}

#[derive(Debug, Args)]
struct Optional {
    /// For people
    #[arg(long)]
    name: Option<String>,
    /// What you call it yourself: paths take it as they take the id
    #[arg(long)]
    uid: Option<String>,
    /// Only of this event type; may be repeated, or have commas between
    #[arg(long = "event-type", value_name = "TYPE", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only of this channel; may be repeated, or have commas between
    #[arg(long = "channel", value_name = "CHANNEL", value_delimiter = ',')]
    channels: Vec<String>,
    /// A header to send, as `name: value`; may be repeated
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Which signatures requests carry
    #[arg(long, value_parser = ["both", "octohooks", "standard"])]
    signatures: Option<String>,
    /// Whether payloads are sent as ASCII, with \uXXXX for the rest
    #[arg(long, value_name = "BOOL")]
    ascii_payload: Option<bool>,
    /// As what it gets messages: the payload alone, or a CloudEvent
    #[arg(long, value_parser = ["none", "cloudevents-structured", "cloudevents-binary"])]
    format: Option<String>,
    /// The application's plugin that signs requests; '' for none
    #[arg(long, value_name = "PLUGIN")]
    signer: Option<String>,
    /// The application's plugin that says what answers mean; '' for none
    #[arg(long, value_name = "PLUGIN")]
    classifier: Option<String>,
    /// Another endpoint of the application that dead letters go to as well: its id or uid; '' for none
    #[arg(long, value_name = "ENDPOINT")]
    dead_letter_endpoint: Option<String>,
    /// Start at most so many requests in a time: 10/second, 600/minute; with a burst 10/second/20
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate_limit: Option<Value>,
    /// At most so many requests under way at once
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
    /// How requests are made
    #[arg(long, value_parser = ["POST", "PUT"])]
    method: Option<String>,
    /// What requests say they come from; '' for the gateway's own
    #[arg(long, value_name = "TEXT")]
    user_agent: Option<String>,
    /// The longest that an attempt may take, in milliseconds; 0 for the gateway's own
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// The longest that connecting may take, in milliseconds; 0 for the gateway's own
    #[arg(long, value_name = "MS")]
    connect_timeout: Option<u64>,
    /// A file of what requests log in with, as in the API: {"type": "bearer", "token": "…"}; {"type": "none"} for nothing
    #[arg(long, value_name = "FILE", value_parser = object_in)]
    credentials: Option<Value>,
    /// A file of the certificate that requests show: {"certificate": "PEM", "key": "PEM"}; {} for none
    #[arg(long, value_name = "FILE", value_parser = object_in)]
    client_certificate: Option<Value>,
    /// Send one after the other: all, or those with the same ordering key
    #[arg(long, value_parser = ["none", "endpoint", "key"])]
    order: Option<String>,
    /// When deliveries are tried again, as in the API: {"waits": [5, 60]} or {"base": 5, "attempts": 9}; {} for as usual
    #[arg(long, value_name = "JSON", value_parser = object)]
    retry: Option<Value>,
}

fn object(text: &str) -> Result<Value, String> {
    let read = serde_json::from_str::<Map<String, Value>>(text).map(Value::Object);
    read.map_err(|error| format!("must be a JSON object: {error}"))
}

/// An object in a file: a secret on a command line is everybody's on the machine.
fn object_in(path: &str) -> Result<Value, String> {
    object(&std::fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    let pair = pair.filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be `name: value`".to_owned())
}

fn rate(text: &str) -> Result<Value, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (limit, per, burst) = match parts[..] {
        [limit] => (limit, "second", "1"),
        [limit, per] => (limit, per, "1"),
        [limit, per, burst] => (limit, per, burst),
        _ => ("", "", ""),
    };
    match (limit.parse::<u32>(), burst.parse::<u32>(), per) {
        (Ok(limit @ 1..), Ok(burst @ 1..), "second" | "minute" | "hour") => {
            Ok(json!({ "limit": limit, "per": per, "burst": burst }))
        }
        _ => Err("must be like 10/second, 600/minute, 1000/hour, or 10/second/20".to_owned()),
    }
}

impl Optional {
    /// The fields that are given.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let is_given = |value: &Value| match value {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        for (name, value) in [
            ("name", json!(self.name)),
            ("uid", json!(self.uid)),
            ("eventTypes", json!(self.event_types)),
            ("channels", json!(self.channels)),
            ("headers", Value::Object(headers)),
            ("signatures", json!(self.signatures)),
            ("asciiPayload", json!(self.ascii_payload)),
            ("format", json!(self.format)),
            ("signer", json!(self.signer)),
            ("classifier", json!(self.classifier)),
            ("deadLetterEndpoint", json!(self.dead_letter_endpoint)),
            ("rateLimit", json!(self.rate_limit)),
            ("maxInFlight", json!(self.max_in_flight)),
            ("method", json!(self.method)),
            ("userAgent", json!(self.user_agent)),
            ("timeout", json!(self.timeout)),
            ("connectTimeout", json!(self.connect_timeout)),
            ("credentials", json!(self.credentials)),
            ("order", json!(self.order)),
        ] {
            if is_given(&value) {
                fields.insert(name.to_owned(), value);
            }
        }
        // An empty one says something too.
        fields.extend(self.retry.clone().map(|retry| ("retry".to_owned(), retry)));
        let certificate = self.client_certificate.clone();
        fields.extend(certificate.map(|one| ("clientCertificate".to_owned(), one)));
        fields
    }
}

impl Fields {
    /// The endpoint to create.
    pub fn json(&self) -> Value {
        let mut fields = self.optional.fields();
        fields.insert("url".to_owned(), json!(self.url));
        fields.insert("enabled".to_owned(), json!(!self.disabled));
        if !self.secrets.is_empty() {
            fields.insert("secrets".to_owned(), json!(self.secrets));
        }
        Value::Object(fields)
    }
}

impl Changes {
    /// The endpoint as it is to be, from what it is. Its secrets stay, since they are not mentioned.
    pub fn over(&self, old: &Value) -> Value {
        let mut fields = old.as_object().cloned().unwrap_or_default();
        for not_ours in ["id", "secrets", "disabledReason", "health", "created", "updated"] {
            fields.remove(not_ours);
        }
        fields.extend(self.optional.fields());
        if let Some(url) = &self.url {
            fields.insert("url".to_owned(), json!(url));
        }
        if self.enable || self.disable {
            fields.insert("enabled".to_owned(), json!(self.enable));
        }
        for (is_cleared, name) in [
            (self.all_event_types, "eventTypes"),
            (self.all_channels, "channels"),
            (self.no_headers, "headers"),
            (self.no_rate_limit, "rateLimit"),
            (self.no_max_in_flight, "maxInFlight"),
        ] {
            if is_cleared {
                fields.remove(name);
            }
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Update {
        #[command(flatten)]
        changes: Changes,
    }

    fn after(flags: &[&str]) -> Value {
        let old = json!({ "id": "1", "url": "http://a/", "enabled": true, "eventTypes": ["a", "b"],
            "channels": ["c"], "headers": { "x": "y" }, "secrets": ["s"], "signatures": "both",
            "rateLimit": { "limit": 1, "per": "hour", "burst": 1 }, "maxInFlight": 7 });
        let flags = [&["update"], flags].concat();
        Update::try_parse_from(flags).expect("parses").changes.over(&old)
    }

    #[test]
    fn a_change_leaves_the_rest_as_it_is() {
        let same = after(&[]);
        assert_eq!(same["eventTypes"], json!(["a", "b"]));
        assert_eq!((&same["id"], &same["secrets"]), (&Value::Null, &Value::Null));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), r#"{"type": "none"}"#).expect("writes");
        let file = file.path().to_str().expect("text");
        let table: [(&[&str], &str, Value); 16] = [
            (&["--method", "PUT"], "method", json!("PUT")),
            (&["--user-agent", ""], "userAgent", json!("")),
            (&["--timeout", "0"], "timeout", json!(0)),
            (&["--credentials", file], "credentials", json!({ "type": "none" })),
            (&["--retry", "{}"], "retry", json!({})),
            (&["--order", "key"], "order", json!("key")),
            (&["--signer", ""], "signer", json!("")),
            (&["--event-type", "x,y", "--event-type", "z"], "eventTypes", json!(["x", "y", "z"])),
            (&["--all-event-types"], "eventTypes", Value::Null),
            (&["--disable"], "enabled", json!(false)),
            (&["--enable"], "enabled", json!(true)),
            (&["--header", "a: b:c"], "headers", json!({ "a": "b:c" })),
            (&["--no-headers"], "headers", Value::Null),
            (&["--no-rate-limit"], "rateLimit", Value::Null),
            (&["--max-in-flight", "3"], "maxInFlight", json!(3)),
            (&["--url", "http://b"], "url", json!("http://b")),
        ];
        for (flags, field, expected) in table {
            let new = after(flags);
            assert_eq!(new[field], expected, "{flags:?}");
            let others = same.as_object().expect("an object").iter();
            for (other, value) in others.filter(|(other, _)| *other != field) {
                assert_eq!(&new[other], value, "{flags:?}: {other}");
            }
        }
    }

    #[test]
    fn rates_as_people_write_them() {
        let table = [("10", (10, "second", 1)), ("600/minute", (600, "minute", 1))];
        for (text, (limit, per, burst)) in table.into_iter().chain([("5/hour/9", (5, "hour", 9))]) {
            let expected = json!({ "limit": limit, "per": per, "burst": burst });
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for bad in ["", "0/second", "10/day", "10/second/0", "1/second/1/1", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
