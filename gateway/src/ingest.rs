//! Ingest: the doors through which messages come in, and the one [`accept`] behind them.

pub mod headers;
pub mod envelope;
pub mod http;
pub mod nats;
pub mod accept;
