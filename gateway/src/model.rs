//! The nouns, one type each. Pure: nothing here reads a clock, draws a number or touches the world, and
//! nothing here knows of the other modules.
//!
//! An [`Application`](application::Application) is a tenant of an environment; it owns
//! [`Endpoint`](endpoint::Endpoint)s and [`Plugin`](plugin::Plugin)s. A
//! [`Message`](message::Message) is one accepted event; a [`Delivery`](delivery::Delivery) binds it for one
//! endpoint; an [`Attempt`](attempt::Attempt) is one HTTP try. A [`Key`](key::Key) says who may do what. A
//! [`Snapshot`](catalog::Snapshot) is all of these but messages and what follows them at one moment, as the hot path
//! reads them.

pub mod id;
pub mod list;
pub mod name;
pub mod environment;
pub mod application;
pub mod subject;
pub mod secret;
pub mod credentials;
pub mod retry;
pub mod health;
pub mod endpoint;
pub mod plugin;
pub mod trial;
pub mod failure;
pub mod grants;
pub mod keyvalue;
pub mod message;
pub mod timing;
pub mod dispatch;
pub mod cloud_event;
pub mod dead_letter;
pub mod delivery;
pub mod attempt;
pub mod operation;
pub mod draft;
pub mod key;
pub mod event_type;
pub mod catalog;
pub mod notice;
#[cfg(test)]
pub mod sample;

/// Milliseconds since the Unix epoch, the wire's unit of time.
pub type Millis = u64;
