//! The admin API of a running gateway, for the commands that ask it: `approvals` and `demo`.
//!
//! It carries a bearer token, so it talks https, or http to this machine and to nobody else. What
//! comes back is shown to people; whoever prints it makes it safe to print first.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::auth::Settings;
use crate::config::{Config, Surroundings};
use crate::serve;

/// A client of the admin API.
#[derive(Clone, Debug)]
pub(super) struct AdminApi {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// The admin API did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The address is not one that a token may be sent to.
    #[error("{0} is not https, and not http to this machine: the token is not sent there")]
    Address(String),
    /// No answer.
    #[error("the gateway's admin API at {base} does not answer")]
    Send {
        /// Where it was looked for.
        base: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A problem document (RFC 9457), or whatever came in its place.
    #[error("{sentence} [{code}, HTTP {status}]")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable code; empty if the answer was no problem document.
        code: String,
        /// `detail`, else `title`.
        sentence: String,
    },
}

impl AdminApi {
    /// A client that sends `token` to `base`.
    ///
    /// # Errors
    /// If `base` is not an address to which a token may go.
    pub(super) fn new(http: reqwest::Client, base: &str, token: &str) -> Result<Self, ApiError> {
        let base = base.trim_end_matches('/');
        if !may_carry_token(base) {
            return Err(ApiError::Address(base.to_owned()));
        }
        Ok(Self { http, base: base.to_owned(), token: token.to_owned() })
    }

    /// Reads a resource; `path` begins after `/api/v1/`.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Posts a JSON body.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let request = self.request(Method::POST, path);
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1/{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, ApiError> {
        let lost = |source| ApiError::Send { base: self.base.clone(), source };
        let response = request.header("accept", "application/json").send().await.map_err(lost)?;
        let status = response.status();
        let body = response.bytes().await.map_err(lost)?;
        let value = serde_json::from_slice(&body);
        match value {
            Ok(value) if status.is_success() => Ok(value),
            other => Err(refused(status, &other.unwrap_or_default())),
        }
    }
}

fn refused(status: StatusCode, problem: &Value) -> ApiError {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let sentence = text("detail").or_else(|| text("title"));
    ApiError::Refused {
        status: status.as_u16(),
        code: text("code").unwrap_or_default(),
        sentence: sentence.unwrap_or_else(|| "the gateway gave no reason".to_owned()),
    }
}

/// https, or http to a loopback address.
#[must_use]
pub(super) fn may_carry_token(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// The token of the person at the keyboard: of the file, else of `$FORGE_TOKEN`, else, in local
/// mode, the one that the gateway wrote at its first start.
///
/// # Errors
/// If there is none.
pub(super) fn find_token(file: Option<&Path>, config: Option<&Config>) -> anyhow::Result<String> {
    if let Some(path) = file {
        return read_token(path);
    }
    if let Some(token) = (Surroundings::of(Path::new(".")).env)("FORGE_TOKEN") {
        return Ok(token.trim().to_owned());
    }
    if let Some(path) = config.and_then(local_token_file) {
        return read_token(&path);
    }
    anyhow::bail!("no token: give --token-file FILE or set FORGE_TOKEN")
}

fn local_token_file(config: &Config) -> Option<PathBuf> {
    match &config.auth.settings {
        Settings::Local { dir, .. } => Some(dir.join("token")),
        Settings::Jwt(_) | Settings::Fixed(_) => None,
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the token in {}", path.display()))?;
    let token = text.trim();
    anyhow::ensure!(!token.is_empty(), "{} is empty", path.display());
    Ok(token.to_owned())
}

/// A client for `base`, or for the gateway that runs with `config`.
///
/// # Errors
/// If no gateway runs, or the address may not carry a token.
pub(super) fn connect(
    url: Option<&str>,
    config: Option<&Config>,
    token: &str,
) -> anyhow::Result<AdminApi> {
    let base = match (url, config) {
        (Some(url), _) => url.to_owned(),
        (None, Some(config)) => serve::admin_url(config)?,
        (None, None) => anyhow::bail!("no configuration: give --config FILE or --url URL"),
    };
    Ok(AdminApi::new(serve::http_client()?, &base, token)?)
}
