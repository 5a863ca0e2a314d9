//! The HTTP server: one task a connection, with a limit on connections and a limit on the time a request's head may
//! take, so that neither idle nor half-sent requests pile up,
//! nor answers that nobody reads.

use super::body::Timed;
use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(60);
/// How long to wait when the system gives no more sockets.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections there may be, and how long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once; more wait to be accepted.
    pub connections: usize,
    /// Its body, from the first wait for more of it.
    pub body: Duration,
    /// An answer of which nothing is taken.
    pub write: Duration,
}

/// Serves until `stop`; then takes no more connections, ends idle ones, and waits for the requests under way, for as long
/// as that says. A request that was not whole by then was promised nothing.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = Duration>,
    limits: Limits,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut stop = pin!(stop);
    let left = loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            left = &mut stop => break left,
        };
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Body::new(Timed::new(body, limits.body)));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(patient(stream, limits.write)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    };
    drop(listener);
    let _in_time = tokio::time::timeout(left, graceful.shutdown()).await;
}

/// The connection, given up when nothing can be written for so long: an answer that is not read is memory.
fn patient(stream: TcpStream, write: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write));
    Box::pin(stream)
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Small answers must not wait for more to be sent.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Bytes, routing::get};
    use futures_util::stream;
    use std::convert::Infallible;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let chunk = || Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 << 10]));
        let endless = move || async move { Body::from_stream(stream::repeat_with(chunk)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limit = Duration::from_millis(20);
        let limits = Limits { connections: 1, body: limit, write: limit };
        let (stopper, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = Router::new().route("/", get(endless));
        let stop = async move {
            drop(stopped.await);
            limit
        };
        let serving = serve(listener, router, stop, limits);
        let serving = tokio::spawn(serving);
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("is sent");
        // The only place there is: the next client is served when the first one's answer is given up.
        let mut next = TcpStream::connect(address).await.expect("connects");
        next.write_all(b"GET /none HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("is sent");
        next.readable().await.expect("is answered");
        drop(stopper);
        serving.await.expect("ends");
    }
}
