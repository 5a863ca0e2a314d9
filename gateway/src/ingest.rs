//! Ingest: the doors through which messages come in, and the one [`accept`] behind them.

pub mod http;
pub mod accept;
