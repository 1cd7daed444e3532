//! Fetches an issuer's key set: discovery where it is asked for, then the set.
//!
//! `https` only, except from a loopback issuer; no redirects, so that an issuer's document cannot
//! send us elsewhere; every answer has a size limit and the whole fetch a deadline (`source`).
//! Implements RFC 8414 §3 and OpenID Connect Discovery 1.0 §4 as far as `issuer` and `jwks_uri`.

use reqwest::{Client, StatusCode, Url, header};

use super::set::{KeySet, KeySetError};
use crate::auth::json;
use crate::auth::settings::{Issuer, KeySource};
use crate::auth::uri;

/// Where one issuer is asked.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Endpoints {
    issuer: String,
    /// Metadata documents in the order in which they are tried; empty if the set is configured.
    metadata: Vec<Url>,
    jwks: Option<Url>,
    loopback: bool,
}

/// The issuer or its key set cannot be asked at the configured place.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} has to be an https URL without user, query or fragment (http on loopback only)")]
pub struct EndpointError {
    url: String,
}

/// The key set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer from {url}")]
    Request {
        url: Url,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} answered {status}")]
    Status { url: Url, status: StatusCode },
    #[error("the answer of {url} has more than {BODY_BYTES_MAX} bytes")]
    Size { url: Url },
    #[error("the metadata at {url} is not strict JSON")]
    Metadata {
        url: Url,
        #[source]
        source: serde_json::Error,
    },
    #[error("the metadata at {url} is that of another issuer")]
    Issuer { url: Url },
    #[error("the metadata at {url} names no jwks_uri that may be asked")]
    JwksUri { url: Url },
    #[error("no metadata document at any well-known place of {issuer}")]
    NoMetadata { issuer: String },
    #[error("the key set at {url} cannot be read")]
    KeySet {
        url: Url,
        #[source]
        source: KeySetError,
    },
    #[error("the keys did not arrive within {} ms", .after.as_millis())]
    Deadline { after: std::time::Duration },
}

impl Endpoints {
    /// The places that the settings name.
    pub(in crate::auth) fn of(issuer: &Issuer) -> Result<Self, EndpointError> {
        let base = issuer_url(&issuer.issuer)?;
        let loopback = uri::on_loopback(&base);
        let (metadata, jwks) = match &issuer.keys {
            KeySource::Discover => (well_known(&base), None),
            KeySource::Jwks(url) => (Vec::new(), Some(checked(url, loopback)?)),
        };
        Ok(Self { issuer: issuer.issuer.clone(), metadata, jwks, loopback })
    }

    /// Fetches the keys as they are now.
    pub(super) async fn fetch(&self, client: &Client) -> Result<KeySet, FetchError> {
        let url = match &self.jwks {
            Some(url) => url.clone(),
            None => self.discover(client).await?,
        };
        let body = get(client, &url).await?;
        KeySet::parse(&body).map_err(|source| FetchError::KeySet { url, source })
    }

    /// MCP 2026-07-28 "Authorization Server Metadata Discovery": the well-known places in order.
    async fn discover(&self, client: &Client) -> Result<Url, FetchError> {
        for url in &self.metadata {
            let body = match get(client, url).await {
                Err(FetchError::Status { status, .. }) if status.is_client_error() => continue,
                other => other?,
            };
            let document = json::object(&body)
                .map_err(|source| FetchError::Metadata { url: url.clone(), source })?;
            let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
            // RFC 8414 §3.3: "The 'issuer' value returned MUST be identical to the authorization
            // server's issuer identifier value [...]. If these values are not identical, the data
            // contained in the response MUST NOT be used."
            if text("issuer") != Some(&self.issuer) {
                return Err(FetchError::Issuer { url: url.clone() });
            }
            let keys = text("jwks_uri").and_then(|text| checked(text, self.loopback).ok());
            return keys.ok_or_else(|| FetchError::JwksUri { url: url.clone() });
        }
        Err(FetchError::NoMetadata { issuer: self.issuer.clone() })
    }
}

/// RFC 8414 §2: the issuer is "a URL that uses the 'https' scheme and has no query or fragment".
fn issuer_url(text: &str) -> Result<Url, EndpointError> {
    let url = checked(text, true)?;
    if url.query().is_some() {
        return Err(EndpointError { url: text.to_owned() });
    }
    Ok(url)
}

fn checked(text: &str, loopback: bool) -> Result<Url, EndpointError> {
    let wrong = || EndpointError { url: text.to_owned() };
    let url = Url::parse(text).map_err(|_not_a_url| wrong())?;
    let fits = uri::may_fetch(&url, loopback) && url.fragment().is_none();
    fits.then_some(url).ok_or_else(wrong)
}

/// The well-known places of an issuer, with its path put in (RFC 8414 §3.1) and put after
/// (OpenID Connect Discovery §4.1).
fn well_known(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    paths
        .iter()
        .map(|path| {
            let mut url = issuer.clone();
            url.set_path(path);
            url
        })
        .collect()
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::Request { url: url.clone(), source };
    let request = client.get(url.clone()).header(header::ACCEPT, "application/json");
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status { url: url.clone(), status: response.status() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
            return Err(FetchError::Size { url: url.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Largest metadata document or key set.
const BODY_BYTES_MAX: usize = 256 * 1024;
