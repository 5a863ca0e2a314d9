//! What every HTTP route shares, whichever stage it belongs to: the server, the error's shape, who is asking, and bodies
//! read under a limit.

pub mod error;
pub mod answers;
pub mod shape;
pub mod auth;
pub mod new_key;
pub mod body;
pub mod cors;
pub mod query;
pub mod once;
pub mod serve;
