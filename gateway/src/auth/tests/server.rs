//! A loopback HTTP server that plays an issuer: what it answers can be changed while it runs, and
//! every request is counted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

pub(super) const OIDC: &str = "/.well-known/openid-configuration";
pub(super) const OAUTH: &str = "/.well-known/oauth-authorization-server";
pub(super) const JWKS: &str = "/jwks.json";

/// What a path answers.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) location: Option<String>,
}

impl Page {
    pub(super) fn json(body: &Value) -> Self {
        Self::text(body.to_string())
    }

    pub(super) fn text(body: impl Into<Bytes>) -> Self {
        Self { status: 200, body: body.into(), location: None }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::text("") }
    }
}

#[derive(Debug)]
struct Shared {
    pages: Mutex<BTreeMap<String, Page>>,
    /// Paths in the order of the requests.
    requests: watch::Sender<Vec<String>>,
    /// Taken by each request for the key set: none left means that it hangs.
    doors: Semaphore,
}

/// The running server; it ends with this value.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Starts one that answers 404.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, _) = watch::channel(Vec::new());
        let doors = Semaphore::new(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared { pages: Mutex::default(), requests, doors });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { url, shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Starts one that is an issuer with this key set, found by OpenID Connect discovery.
    pub(super) async fn issuer(keys: &Value) -> Self {
        let server = Self::start().await;
        let jwks = format!("{}{JWKS}", server.url);
        server.put(OIDC, Page::json(&json!({"issuer": server.url, "jwks_uri": jwks})));
        server.put(JWKS, Page::json(keys));
        server
    }

    pub(super) fn put(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// How often a path was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        self.shared.requests.borrow().iter().filter(|seen| *seen == path).count()
    }

    pub(super) fn total(&self) -> usize {
        self.shared.requests.borrow().len()
    }

    /// From now on requests for the key set hang until [`Self::open`].
    pub(super) fn close(&self) {
        self.shared.doors.forget_permits(usize::MAX);
    }

    pub(super) fn open(&self) {
        self.shared.doors.add_permits(1000);
    }

    /// Waits until a path was asked for so often.
    pub(super) async fn until_count(&self, path: &str, least: usize) {
        let mut requests = self.shared.requests.subscribe();
        let enough = |seen: &Vec<String>| seen.iter().filter(|one| *one == path).count() >= least;
        let wait = requests.wait_for(enough);
        let limit = std::time::Duration::from_secs(20);
        drop(tokio::time::timeout(limit, wait).await.expect("the requests did not come").unwrap());
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| answer(request, &shared));
            let http = hyper::server::conn::http1::Builder::new();
            // The peer may go away at any time.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert_eq!(request.headers().get("authorization"), None, "a token must not come here");
    shared.requests.send_modify(|seen| seen.push(path.clone()));
    if path == JWKS {
        shared.doors.acquire().await.unwrap().forget();
    }
    let page = shared.pages.lock().unwrap().get(&path).cloned();
    let page = page.unwrap_or_else(|| Page::status(404));
    let mut response = Response::builder().status(page.status);
    if let Some(location) = page.location {
        response = response.header("location", location);
    }
    Ok(response.body(Full::new(page.body)).unwrap())
}
