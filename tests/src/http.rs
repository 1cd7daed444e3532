//! A small HTTP/1.1 client that sends exactly what it is told to, and reads server-sent events.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{PATIENCE, read_some};

/// A complete response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub kind: Option<String>,
    /// `data:` lines, joined.
    pub data: String,
}

impl Answer {
    /// A header as text; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} is not JSON: {}", self.status, self.text()))
    }

    /// All JSON-RPC messages in the body, be it one JSON document or a stream.
    ///
    /// # Errors
    /// If one of them is not JSON.
    pub fn messages(&self) -> anyhow::Result<Vec<Value>> {
        if !self.header("content-type").starts_with("text/event-stream") {
            return Ok(vec![self.json()?]);
        }
        events(&self.text())
            .into_iter()
            .filter(|event| !event.data.trim().is_empty())
            .map(|event| Ok(serde_json::from_str(&event.data)?))
            .collect()
    }

    /// The last message: the answer to the request.
    ///
    /// # Errors
    /// If there is none.
    pub fn message(&self) -> anyhow::Result<Value> {
        self.messages()?.pop().with_context(|| format!("{}: an empty stream", self.status))
    }
}

/// The events in a piece of a stream.
#[must_use]
pub fn events(text: &str) -> Vec<Event> {
    text.replace("\r\n", "\n")
        .split("\n\n")
        .filter_map(|block| {
            let mut event = Event::default();
            let mut data = Vec::new();
            for line in block.lines() {
                match line.split_once(':') {
                    Some(("id", value)) => event.id = Some(value.trim().to_owned()),
                    Some(("event", value)) => event.kind = Some(value.trim().to_owned()),
                    Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                    _ => {}
                }
            }
            let empty = data.is_empty() && event.id.is_none();
            event.data = data.join("\n");
            (!empty).then_some(event)
        })
        .collect()
}

async fn connect(uri: &Uri) -> anyhow::Result<TcpStream> {
    let host = uri.host().context("a URL with a host")?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(
    method: Method,
    uri: &Uri,
    headers: &[(&str, &str)],
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", uri.authority().context("a host")?.as_str());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(Full::new(body))?)
}

/// Sends a request over a connection of its own; the response may still be arriving.
///
/// # Errors
/// If the connection fails.
pub async fn open(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Stream> {
    let uri: Uri = url.parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connect(&uri).await?)).await?;
    let task = tokio::spawn(async move {
        // What goes wrong with the connection shows in the response.
        drop(connection.await);
    });
    let response =
        timeout(PATIENCE, sender.send_request(request(method, &uri, headers, body.into())?))
            .await
            .context("no response in time")??;
    let (parts, body) = response.into_parts();
    let guard = Connection(task);
    Ok(Stream {
        status: parts.status,
        headers: parts.headers,
        body,
        text: String::new(),
        guard,
        _sender: sender,
    })
}

/// Sends a request and reads the whole response.
///
/// # Errors
/// If the connection fails or the response does not end in time.
pub async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Answer> {
    open(method, url, headers, body).await?.rest().await
}

#[derive(Debug)]
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response that is read event by event; dropping it closes the connection.
#[derive(Debug)]
pub struct Stream {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    text: String,
    guard: Connection,
    _sender: http1::SendRequest<Full<Bytes>>,
}

impl Stream {
    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the connection fails or nothing arrives in time.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                match events(&block).pop() {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.context("silence")?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.text.push_str(&String::from_utf8_lossy(&data).replace("\r\n", "\n"));
            }
        }
    }

    /// The next event that carries a JSON-RPC message.
    ///
    /// # Errors
    /// If the stream ends first.
    pub async fn message(&mut self) -> anyhow::Result<Value> {
        while let Some(event) = self.next().await? {
            if !event.data.trim().is_empty() {
                return Ok(serde_json::from_str(&event.data)?);
            }
        }
        bail!("the stream ended")
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// If the connection fails or it does not end in time.
    pub async fn rest(self) -> anyhow::Result<Answer> {
        let Self { status, headers, body, text, guard: _guard, _sender } = self;
        let collected = timeout(PATIENCE, body.collect()).await.context("no end in time")??;
        let body = Bytes::from([text.as_bytes(), &collected.to_bytes()].concat());
        Ok(Answer { status, headers, body })
    }
}

/// Sends bytes as they are and reads what comes back until the other side closes.
///
/// # Errors
/// If the connection fails.
pub async fn raw(url: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let uri: Uri = url.parse()?;
    let mut stream = connect(&uri).await?;
    stream.write_all(bytes).await?;
    let answer = timeout(PATIENCE, read_some(&mut stream, 1 << 20)).await.context("silence")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
