//! A closed loop of stateless calls over connections that stay open.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use crate::client::MODERN;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of text in the arguments, and again in the answer.
    pub text_bytes: usize,
}

/// What came of one turn.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Answers.
    pub calls: u64,
    /// Answers in a second.
    pub per_s: f64,
    /// Median time to the whole answer.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// CPU of the gateway for each call; filled in by the caller.
    pub cpu_us: u64,
}

/// Runs the load for the length of a turn.
///
/// # Errors
/// If a connection fails or an answer is not the one that belongs to its call.
pub async fn run(
    url: &str,
    token: Option<&str>,
    load: Load,
    turn: Duration,
) -> anyhow::Result<Measured> {
    let uri: Uri = url.parse()?;
    let end = Instant::now() + turn;
    let mut tasks = Vec::new();
    for number in 0..load.connections {
        let (uri, token) = (uri.clone(), token.map(str::to_owned));
        tasks.push(tokio::spawn(connection(uri, token, load.text_bytes, number, end)));
    }
    let begin = Instant::now();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let elapsed = begin.elapsed().as_secs_f64();
    ensure!(!all.is_empty(), "not one answer in {turn:?}");
    all.sort_unstable();
    let at = |share: usize| all[(all.len() * share / 1000).min(all.len() - 1)];
    let calls = u64::try_from(all.len())?;
    let count = f64::from(u32::try_from(all.len())?);
    Ok(Measured { calls, per_s: count / elapsed, p50_us: at(500), p99_us: at(990), cpu_us: 0 })
}

/// Text like prose: words and spaces, nothing that a detector finds.
fn prose(bytes: usize) -> String {
    const WORDS: &str = "the quick brown fox jumps over the lazy dog and then some more ";
    WORDS.chars().cycle().take(bytes).collect()
}

async fn connection(
    uri: Uri,
    token: Option<String>,
    size: usize,
    number: usize,
    end: Instant,
) -> anyhow::Result<Vec<u64>> {
    let host = uri.host().context("a host")?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move { drop(driver.await) });
    let text = prose(size);
    let body = json!({"jsonrpc": "2.0", "id": "THE-ID", "method": "tools/call", "params": {
        "name": "echo", "arguments": {"text": text},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"}}}})
    .to_string();
    let mut times = Vec::new();
    let mut call = 0_u64;
    while Instant::now() < end {
        call += 1;
        let id = format!("{number}-{call}");
        let mut request = Request::post(uri.path())
            .header("host", uri.authority().context("a host")?.as_str())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", "tools/call")
            .header("mcp-name", "echo");
        if let Some(token) = &token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = Bytes::from(body.replacen("THE-ID", &id, 1));
        let begin = Instant::now();
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        times.push(u64::try_from(begin.elapsed().as_micros())?);
        let right = status == 200 && contains(&answer, &id) && contains(&answer, &text);
        ensure!(right, "{status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
    }
    driver.abort();
    Ok(times)
}

fn contains(answer: &[u8], text: &str) -> bool {
    // The answer ends shortly after the text; searching from its end is quick enough to do always.
    let needle = text.as_bytes();
    answer.windows(needle.len().max(1)).any(|window| window == needle) || needle.is_empty()
}
