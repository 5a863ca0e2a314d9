//! HTTP/1.1 and NATS by hand, for all ends of the load tool: just enough to frame what a gateway
//! or a nats-server sends on a kept-alive connection, and one request that is patched instead of
//! built.
//!
//! HTTP's bodies are framed by `content-length` only; a chunked one is an error, not a wrong
//! figure.

use anyhow::{Context, Result, bail};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Whoever sends more than this to the load tool is not a gateway.
const LARGEST: usize = 64 * 1024;

/// The size of a create-message body.
const BODY: usize = 1024;

/// What the sequence number follows. In the body it stands inside the payload's message id, which a
/// plugin keeps; over NATS also in the subject of the reply.
const MARK: &[u8] = b"bench-";
const PHASE_DIGITS: usize = 4;
const SEQUENCE_DIGITS: usize = 8;

/// One connection, read message by message.
pub(crate) struct Frames {
    pub(crate) stream: TcpStream,
    framing: Framing,
    buffer: Vec<u8>,
    filled: usize,
    taken: usize,
}

/// The lengths of the head and of the whole message, once its head is complete.
pub(crate) type Framing = fn(&[u8]) -> Result<Option<(usize, usize)>>;

/// One message. Of HTTP: its head, up to the empty line, and its body; of NATS: its line, and its
/// headers and payload with the line's end behind them.
pub(crate) struct Frame<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Frames {
    pub(crate) fn new(stream: TcpStream, framing: Framing) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, framing, buffer: vec![0; 8 * 1024], filled: 0, taken: 0 })
    }

    /// Whether the next message is there already.
    pub(crate) fn has_next(&self) -> Result<bool> {
        let there = &self.buffer[self.taken..self.filled];
        Ok((self.framing)(there)?.is_some_and(|(_, whole)| whole <= there.len()))
    }

    /// The next message, or `None` when the peer has closed between two. Nothing is lost when this
    /// is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame<'_>>> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let mut head = None;
        loop {
            if head.is_none() {
                head = (self.framing)(&self.buffer[..self.filled])?;
            }
            if let Some((head, whole)) = head
                && whole <= self.filled
            {
                self.taken = whole;
                let (head, body) = self.buffer[..whole].split_at(head);
                return Ok(Some(Frame { head, body }));
            }
            if self.filled == self.buffer.len() {
                if self.filled >= LARGEST {
                    bail!("a message larger than {LARGEST} bytes");
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]).await? {
                0 if self.filled == 0 => return Ok(None),
                0 => bail!("closed in the middle of a message"),
                more => self.filled += more,
            }
        }
    }
}

/// How HTTP/1.1 frames its messages.
pub(crate) fn http(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut length = 0;
    for line in bytes[..end].split(|&byte| byte == b'\n').skip(1) {
        if let Some(value) = header(line, b"content-length:") {
            length = std::str::from_utf8(value)?.trim().parse().context("content-length")?;
        } else if header(line, b"transfer-encoding:").is_some() {
            bail!("a chunked body, which this load tool does not read");
        }
    }
    Ok(Some((end + 4, end + 4 + length)))
}

/// How NATS frames what a server sends: a line, and behind those of messages what their last number
/// counts.
pub(crate) fn nats(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let line = &bytes[..end];
    let head = end + 2;
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return Ok(Some((head, head)));
    }
    let length = line.rsplit(|&byte| byte == b' ').next().and_then(decimal);
    Ok(Some((head, head + length.context("a message without a length")? + 2)))
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    // Compared byte by byte only where the first letter fits: there are a dozen headers a message.
    (start[0] | 0x20 == name[0] && start.eq_ignore_ascii_case(name)).then_some(value)
}

/// The status code of a response.
pub(crate) fn status(frame: &Frame<'_>) -> Result<u16> {
    let digits = frame.head.get(9..12).context("no status")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// A create-message request whose sequence number is written over in place.
#[derive(Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Where the number stands.
    places: Vec<usize>,
}

impl Request {
    /// A request of the given phase to `host`, for the application `app`.
    pub(crate) fn over_http(host: &str, app: &str, key: &str, phase: u16) -> Self {
        let body = body(phase);
        let request = format!(
            "POST /api/v1/applications/{app}/messages HTTP/1.1\r\nhost: {host}\r\n\
             authorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             content-length: {BODY}\r\n\r\n{body}"
        );
        Self::new(request, phase)
    }

    /// A request of the given phase on `subject`. Its reply comes on a subject that begins with
    /// `inbox` and carries the number too.
    pub(crate) fn over_nats(subject: &str, inbox: &str, phase: u16) -> Self {
        let (body, mark) = (body(phase), mark(phase));
        let zero = "0".repeat(SEQUENCE_DIGITS);
        let request = format!("PUB {subject} {inbox}{mark}{zero} {BODY}\r\n{body}\r\n");
        Self::new(request, phase)
    }

    /// The body alone.
    pub(crate) fn bare(phase: u16) -> Self {
        Self::new(body(phase), phase)
    }

    fn new(request: String, phase: u16) -> Self {
        let mark = mark(phase);
        let places = request.match_indices(&mark).map(|(at, _)| at + mark.len()).collect();
        Self { bytes: request.into_bytes(), places }
    }

    /// The request's bytes, carrying `number`.
    pub(crate) fn numbered(&mut self, number: usize) -> &[u8] {
        for &place in &self.places {
            let mut rest = number;
            for digit in self.bytes[place..place + SEQUENCE_DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.bytes
    }
}

fn mark(phase: u16) -> String {
    format!("bench-{phase:0PHASE_DIGITS$}-")
}

/// The body of a request with the number zero. Its payload is a status report as the SMS status
/// plugin takes it, filled up to the size with text.
fn body(phase: u16) -> String {
    let mark = mark(phase);
    let filled = |padding: usize| {
        let padding = "x".repeat(padding);
        format!(
            concat!(
                r#"{{"eventType":"sms.status","payload":{{"messageId":"{mark}{zero:0width$}","#,
                r#""to":"+4790000000","from":"Octohooks","status":"DELIVRD","#,
                r#""text":"{padding}"}}}}"#
            ),
            mark = mark,
            zero = 0,
            width = SEQUENCE_DIGITS,
            padding = padding
        )
    };
    filled(BODY - filled(0).len())
}

/// The phase and the sequence number that a delivered body, or the line of a reply, carries.
pub(crate) fn numbers(body: &[u8]) -> Option<(u16, usize)> {
    let found = body.windows(MARK.len()).position(|part| part == MARK)?;
    let (phase, rest) = body[found + MARK.len()..].split_at_checked(PHASE_DIGITS)?;
    let sequence = rest.get(1..=SEQUENCE_DIGITS)?;
    Some((u16::try_from(decimal(phase)?).ok()?, decimal(sequence)?))
}

fn decimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0'))
    })
}
