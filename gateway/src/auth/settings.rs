//! How this gateway authenticates, already checked for form by `config`; [`Authenticator::new`]
//! checks what only this module knows.
//!
//! [`Authenticator::new`]: super::Authenticator::new

use std::path::PathBuf;

use forge_schemas::ids::Tenant;

use super::algorithm::Algorithm;
use super::jwks::Timing;
use super::local::Grant;
use super::principal::Principal;

/// Which of the three ways in is open.
#[derive(Clone, Debug)]
pub enum Settings {
    /// Opaque tokens in a directory of this machine. Only for loopback listeners.
    Local {
        /// Holds `tokens.json` and `token`, both 0600.
        dir: PathBuf,
        /// Whom the token of the first start names.
        first: Grant,
    },
    /// JWT access tokens.
    Jwt(JwtSettings),
    /// Every request is this principal. Only for a loopback test profile.
    Fixed(Principal),
}

/// JWT mode.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// Whom we trust; at least one, each `issuer` once.
    pub issuers: Vec<Issuer>,
    /// How many verified tokens are remembered.
    pub tokens_remembered_max: usize,
    /// When key sets are fetched.
    pub timing: Timing,
}

/// One trusted issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Compared byte for byte with `iss`.
    pub issuer: String,
    /// Resource identifiers of this gateway at this issuer; at least one.
    pub audience: Vec<String>,
    /// Algorithms that this issuer signs with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Also accept `typ` `JWT` or none: for issuers that do not know RFC 9068. Its ID tokens are
    /// then told apart by their claims only.
    pub accept_typ_jwt: bool,
    /// Claims that have to be there and not null: names, or JSON pointers if they begin with `/`.
    pub required: Vec<String>,
    /// Where the attributes of the principal stand.
    pub claims: ClaimMap,
    /// Where the keys are.
    pub keys: KeySource,
    /// How far clocks may differ, in seconds; at most 300.
    pub leeway_s: u32,
}

/// JSON pointers (RFC 6901) into the claims.
#[derive(Clone, Debug)]
pub struct ClaimMap {
    /// The subject: a string that has to be there.
    pub subject: String,
    /// The tenant: a string.
    pub tenant: Option<String>,
    /// The tenant where the token names none.
    pub default_tenant: Option<Tenant>,
    /// Roles: an array of strings, or one string.
    pub roles: Option<String>,
    /// Groups: an array of strings, or one string.
    pub groups: Option<String>,
}

/// Where an issuer's keys are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// By its metadata: RFC 8414, then OpenID Connect discovery.
    Discover,
    /// At this URL.
    Jwks(String),
}

impl Issuer {
    /// An issuer with the defaults of the reference page.
    #[must_use]
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: vec![audience.to_owned()],
            algorithms: Algorithm::DEFAULT.to_vec(),
            accept_typ_jwt: false,
            required: Vec::new(),
            claims: ClaimMap::default(),
            keys: KeySource::Discover,
            leeway_s: LEEWAY_S,
        }
    }
}

impl Default for ClaimMap {
    fn default() -> Self {
        Self {
            subject: "/sub".to_owned(),
            tenant: None,
            default_tenant: Some(Tenant::default()),
            roles: None,
            groups: None,
        }
    }
}

impl JwtSettings {
    /// These issuers, with the defaults of the reference page.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self { issuers, tokens_remembered_max: TOKENS_REMEMBERED_MAX, timing: Timing::default() }
    }
}

const LEEWAY_S: u32 = 30;
const TOKENS_REMEMBERED_MAX: usize = 8192;
