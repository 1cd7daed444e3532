//! The one door: settings, keys and memory behind one `verify`.

use std::collections::BTreeSet;
use std::sync::Arc;

use forge_schemas::digest::Digest;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tokio_util::sync::CancellationToken;

use super::credential::bearer;
use super::jwks::{EndpointError, Endpoints, Found, KeySet, Source};
use super::local::{LocalError, LocalTokens};
use super::principal::{AuthError, Principal};
use super::recent::{Recent, Verified};
use super::settings::{Issuer, JwtSettings, Settings};
use super::token::Unverified;
use super::verify;
use crate::clock::Clock;

/// Turns the `Authorization` value of a request into a principal. Never logs a token.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Mode {
    Local(Box<LocalTokens>),
    Jwt(Box<Jwt>),
    Fixed(Arc<Principal>),
}

#[derive(Debug)]
struct Jwt {
    issuers: Vec<Trusted>,
    recent: Recent,
}

#[derive(Debug)]
struct Trusted {
    issuer: Issuer,
    source: Source,
}

/// Authentication cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// JWT mode without an issuer would refuse everybody.
    #[error("auth.issuers is empty")]
    NoIssuer,
    /// Which settings hold for a token would be open.
    #[error("the issuer {issuer:?} is configured twice")]
    Twice {
        /// The issuer.
        issuer: String,
    },
    /// A setting of an issuer can never work.
    #[error("the issuer {issuer:?}: {what}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its keys cannot be asked for.
    #[error("the keys of the issuer {issuer:?} cannot be fetched")]
    Endpoint {
        /// The issuer.
        issuer: String,
        /// Why.
        #[source]
        source: EndpointError,
    },
    /// The TLS provider of the process is chosen in `serve`, before anything connects.
    #[error("no TLS provider is installed")]
    NoTls,
    /// The client that fetches keys.
    #[error("the HTTP client for key sets cannot be built")]
    Client(#[source] reqwest::Error),
    /// The tokens of local mode.
    #[error("the local tokens cannot be opened")]
    Local(#[source] LocalError),
}

impl Authenticator {
    /// Sets up one of the three ways in. `http` brings proxy and certificate settings; redirects
    /// are switched off here. Fetches nothing yet: see [`Self::keep_fresh`].
    ///
    /// # Errors
    /// If the settings contradict themselves or the local tokens cannot be opened safely.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        http: ClientBuilder,
    ) -> Result<Self, SetupError> {
        let mode = match settings {
            Settings::Local { dir, first } => {
                let tokens = LocalTokens::open(&dir, &first, clock.now_ms());
                Mode::Local(Box::new(tokens.map_err(SetupError::Local)?))
            }
            Settings::Jwt(settings) => Mode::Jwt(Box::new(Jwt::new(settings, &clock, http)?)),
            Settings::Fixed(principal) => Mode::Fixed(Arc::new(principal)),
        };
        Ok(Self { mode, clock })
    }

    /// The principal behind an `Authorization` value ([`authorization`] gives it). May wait for a
    /// key set, bounded by the deadline of the settings. Safe to cancel.
    ///
    /// # Errors
    /// The code for the client and the reason for the log.
    ///
    /// [`authorization`]: super::authorization
    pub async fn verify(&self, authorization: Option<&str>) -> Result<Arc<Principal>, AuthError> {
        match &self.mode {
            Mode::Fixed(principal) => Ok(Arc::clone(principal)),
            Mode::Local(tokens) => tokens.verify(bearer(authorization)?, self.clock.now_ms()),
            Mode::Jwt(jwt) => jwt.verify(bearer(authorization)?, self.clock.as_ref()).await,
        }
    }

    /// Per issuer: can its tokens be verified now? Local and fixed mode report under their name.
    #[must_use]
    pub fn health(&self) -> Vec<(String, Result<(), String>)> {
        match &self.mode {
            Mode::Fixed(_) => vec![("fixed".to_owned(), Ok(()))],
            Mode::Local(tokens) => vec![("local".to_owned(), tokens.health())],
            Mode::Jwt(jwt) => jwt
                .issuers
                .iter()
                .map(|trusted| (trusted.issuer.issuer.clone(), trusted.source.health()))
                .collect(),
        }
    }

    /// Does this mode take requests from other machines? Only JWT mode may.
    #[must_use]
    pub const fn is_loopback_only(&self) -> bool {
        match self.mode {
            Mode::Jwt(_) => false,
            Mode::Local(_) | Mode::Fixed(_) => true,
        }
    }

    /// The tokens of local mode, for `token mint`.
    #[must_use]
    pub const fn local(&self) -> Option<&LocalTokens> {
        match &self.mode {
            Mode::Local(tokens) => Some(tokens),
            Mode::Jwt(_) | Mode::Fixed(_) => None,
        }
    }

    /// Fetches the key sets at once and again before they are old, until `stop`. The caller spawns
    /// it on its tracker; without it the first call after a pause waits for the fetch.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let Mode::Jwt(jwt) = &self.mode else { return };
        let fresh = jwt.issuers.iter().map(|trusted| trusted.source.keep_fresh(&stop));
        futures_util::future::join_all(fresh).await;
    }
}

impl Jwt {
    fn new(
        settings: JwtSettings,
        clock: &Arc<dyn Clock>,
        http: ClientBuilder,
    ) -> Result<Self, SetupError> {
        check(&settings)?;
        // Without a provider `ClientBuilder::build` panics (reqwest, `rustls-no-provider`).
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(SetupError::NoTls);
        }
        let client = http.redirect(Policy::none()).referer(false).build();
        let client: Client = client.map_err(SetupError::Client)?;
        let timing = settings.timing;
        let trust = |issuer: Issuer| {
            let name = issuer.issuer.clone();
            let endpoints = Endpoints::of(&issuer)
                .map_err(|source| SetupError::Endpoint { issuer: name.clone(), source })?;
            let source = Source::new(name, endpoints, timing, client.clone(), Arc::clone(clock));
            Ok(Trusted { issuer, source })
        };
        let issuers = settings.issuers.into_iter().map(trust).collect::<Result<_, _>>()?;
        Ok(Self { issuers, recent: Recent::new(settings.tokens_remembered_max) })
    }

    async fn verify(&self, text: &str, clock: &dyn Clock) -> Result<Arc<Principal>, AuthError> {
        let digest = Digest::of(text.as_bytes());
        if let Some(principal) = self.remembered(&digest, clock.now_ms()) {
            return Ok(principal);
        }
        let token = Unverified::parse(text)?;
        let named = token.issuer()?;
        let position = self.issuers.iter().position(|trusted| trusted.issuer.issuer == named);
        let trusted = position.and_then(|position| Some((position, self.issuers.get(position)?)));
        let (position, trusted) = trusted.ok_or_else(|| verify::unknown_issuer(named))?;
        // Again later; here so that a token that cannot pass causes no fetch.
        verify::check_header(&token, &trusted.issuer)?;
        let keys = trusted.keys_for(&token).await?;
        // The moment after the wait counts, not the one before.
        let principal = verify::check(token, &keys, &trusted.issuer, clock.now_ms())?;
        let principal = Arc::new(principal);
        let leeway_ms = i64::from(trusted.issuer.leeway_s).saturating_mul(1000);
        let until_ms = principal.expires_at_ms.unwrap_or(0).saturating_add(leeway_ms);
        let (shared, keys) = (Arc::clone(&principal), keys.digest());
        let verified = Verified { principal: shared, issuer: position, keys, until_ms };
        self.recent.insert(digest, verified);
        Ok(principal)
    }

    /// A token verified before, if it still is valid and its issuer's keys still are the same.
    fn remembered(&self, digest: &Digest, now_ms: i64) -> Option<Arc<Principal>> {
        let found = self.recent.find(digest)?;
        if now_ms >= found.until_ms {
            self.recent.forget(digest);
            return None;
        }
        let keys = self.issuers.get(found.issuer)?.source.at_hand()?;
        if keys.digest() != found.keys {
            self.recent.forget(digest);
            return None;
        }
        Some(found.principal)
    }
}

impl Trusted {
    /// The issuer's keys; newer ones if the token names a key that is not among them.
    async fn keys_for(&self, token: &Unverified<'_>) -> Result<Arc<KeySet>, AuthError> {
        let keys = self.source.current().await?;
        if matches!(keys.find(token.algorithm(), token.kid()), Found::Unknown) {
            return Ok(self.source.after_unknown_key(&keys).await);
        }
        Ok(keys)
    }
}

/// What can never work is an error at the start, not a refusal of every token.
fn check(settings: &JwtSettings) -> Result<(), SetupError> {
    if settings.issuers.is_empty() {
        return Err(SetupError::NoIssuer);
    }
    let mut seen = BTreeSet::new();
    for issuer in &settings.issuers {
        let name = &issuer.issuer;
        if !seen.insert(name) {
            return Err(SetupError::Twice { issuer: name.clone() });
        }
        if let Some(what) = fault(issuer) {
            return Err(SetupError::Issuer { issuer: name.clone(), what });
        }
    }
    Ok(())
}

fn fault(issuer: &Issuer) -> Option<&'static str> {
    let map = &issuer.claims;
    let pointers = [Some(&map.subject), map.tenant.as_ref(), map.roles.as_ref()];
    let mut pointers = pointers.into_iter().chain([map.groups.as_ref()]).flatten();
    if issuer.audience.is_empty() {
        Some("audience is empty")
    } else if issuer.audience.iter().any(|audience| audience.is_empty() || audience.contains('#')) {
        Some("an audience is empty or has a fragment")
    } else if issuer.algorithms.is_empty() {
        Some("algorithms is empty")
    } else if issuer.leeway_s > LEEWAY_S_MAX {
        Some("leeway is more than 300 seconds")
    } else if !pointers.all(|pointer| pointer.starts_with('/')) {
        Some("a claim is not a JSON pointer, which begins with \"/\"")
    } else if map.tenant.is_none() && map.default_tenant.is_none() {
        Some("there is neither a claim for the tenant nor a default tenant")
    } else {
        None
    }
}

/// Clocks that differ by more are broken.
const LEEWAY_S_MAX: u32 = 300;
