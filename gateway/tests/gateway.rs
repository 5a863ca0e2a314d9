//! The gateway as its users meet it: the real binary, real sockets, a real file.

#![allow(clippy::disallowed_methods, reason = "tests wait for real processes, and spawn tasks")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they left out")]

mod gateway {
    pub(crate) mod rig;
    pub(crate) mod receiver;
    mod path;
    mod again;
    mod timing;
    mod catalog;
    mod lanes;
    mod retries;
    mod health;
    mod secrets;
    mod clients;
    mod plugins;
    mod hostile;
    mod builtin;
    mod capabilities;
    mod signers;
    mod trials;
    mod serve;
    mod refused;
    mod keys;
    mod scopes;
    mod openapi;
    mod event_types;
    mod cloud_events;
    mod dead_letters;
    mod cors;
    mod guard;
    mod receivers;
    mod requests;
    mod sockets;
    mod full;
    mod github;
    mod crash;
    mod demo;
    mod nats;
    mod once;
    mod order;
    mod operational;
    mod cli;
}
