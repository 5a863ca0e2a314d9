//! How a gateway stops. From the first signal on nothing new is promised: what would change something is answered 503, with
//! when to try again, for as long as what is under way may take. A second signal ends that.

use crate::{store::StoreError, web::error::ApiError};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that stop a gateway.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: they end the process no more.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one: its number.
    pub async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    }
}

/// Answers what would change something 503, once the gateway stops.
pub async fn refuse(
    State(stopping): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    match stopping.load(Ordering::Relaxed) && !request.method().is_safe() {
        true => ApiError::from(StoreError::Closed).into_response(),
        false => next.run(request).await,
    }
}
