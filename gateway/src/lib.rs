//! Octohooks: a webhook gateway you extend with WebAssembly.
//!
//! The path of a message, in the order of the modules:
//! [`ingest`] authenticates the sender and makes a message; `accept` makes it durable and only then answers;
//! [`dispatch`] runs the application's [`plugin`] and routes what it asks for; [`deliver`] lets each endpoint's lane
//! admit the delivery, signs and sends it, decides what follows, and hands that to the [`store`] to be recorded.
//! Stages meet only in the store and in [`app`].

pub mod app;
pub mod cli;
pub mod config;
pub mod declared;
pub mod model;
pub mod clock;
pub mod invariant;
pub mod gate;
pub mod descriptors;
pub mod nats;
pub mod ingest;
pub mod dispatch;
pub mod plugin;
pub mod workbench;
pub mod trials;
pub mod quarantine;
pub mod deliver;
pub mod recover;
pub mod retention;
pub mod store;
pub mod api;
pub mod web;
pub mod observe;
#[cfg(test)]
mod simulation;
