//! The server at the far end of a benchmark: hyper, no framework, JSON answers, as little work as
//! an honest answer needs.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
}

/// Serves `/mcp` on a free port until the process ends.
///
/// # Errors
/// If no port can be bound.
pub async fn serve(ready: impl FnOnce(&str)) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(&format!("http://{}/mcp", listener.local_addr()?));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(answer);
            // A client that goes away is no news.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    let message = body.as_ref().ok().and_then(|body| serde_json::from_slice(body).ok());
    let response = match message.as_ref().and_then(reply) {
        Some(text) => Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(text))),
        None => Response::builder().status(202).body(Full::default()),
    };
    Ok(response.unwrap_or_default())
}

fn reply(message: &Message<'_>) -> Option<String> {
    let id = message.id?.get();
    let result = match message.method.as_ref() {
        "tools/call" => {
            let params: Params<'_> = serde_json::from_str(message.params?.get()).ok()?;
            let text = params.arguments?.text.get();
            format!(r#"{{"content":[{{"type":"text","text":{text}}}],"resultType":"complete"}}"#)
        }
        "tools/list" => TOOLS.to_owned(),
        "server/discover" => DISCOVER.to_owned(),
        "initialize" => INITIALIZE.to_owned(),
        method => {
            let error = format!(r#"{{"code":-32601,"message":"no method {method}"}}"#);
            return Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        }
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

const TOOLS: &str = r#"{"tools":[{"name":"echo","description":"Returns the text.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},"annotations":{"readOnlyHint":true}}],"resultType":"complete","ttlMs":60000,"cacheScope":"private"}"#;
const DISCOVER: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete","ttlMs":60000,"cacheScope":"private"}"#;
const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#;
