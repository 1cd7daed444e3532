//! Local mode: opaque tokens of this machine, for loopback listeners only.
//!
//! A directory holds `tokens.json` (SHA-256 digests and whom they name, never a token) and `token`
//! (the one of the first start, in the clear, for the person whose machine this is). Both are 0600,
//! regular files of our own user; anything looser is refused at the start and later. The file is
//! read again when it changes, so a token minted by another process works at once. The digests
//! need no salt: the tokens have 256 random bits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use forge_schemas::refusal::RefusalCode;
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::principal::{AuthError, Principal};
use crate::ids;

/// Whom a local token names, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The subject.
    pub subject: String,
    /// Whose data.
    pub tenant: Tenant,
    /// Roles.
    pub roles: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// How long the token is valid; `None` until its entry is removed.
    pub ttl: Option<Duration>,
}

/// The tokens in a directory.
#[derive(Debug)]
pub struct LocalTokens {
    dir: PathBuf,
    known: ArcSwap<Known>,
}

/// The local tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The system said no.
    #[error("{path} cannot be {verb}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else could read or change it.
    #[error("{path} {what}", path = .path.display())]
    Unsafe {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: &'static str,
    },
    /// It has been edited into something else.
    #[error("{path} is not a token file", path = .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// More than any person needs.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes", path = .path.display())]
    Size {
        /// Which file.
        path: PathBuf,
    },
    /// The subject is empty, too long or has control characters.
    #[error("the subject of a token is 1 to 256 bytes without control characters")]
    Subject,
    /// No random bytes.
    #[error("no token can be drawn")]
    Random(#[source] ids::RandomError),
}

#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    /// Why the file could not be read, if so: then nothing is valid.
    tokens: Result<Vec<Token>, String>,
}

#[derive(Debug)]
struct Token {
    digest: Digest,
    principal: Arc<Principal>,
}

/// When this differs the file is another one: writers replace it, so the inode changes too.
type Stamp = (u64, u64, i64, i64, i64);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    v: u32,
    /// By digest of the token.
    tokens: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    subject: String,
    tenant: Tenant,
    roles: Vec<String>,
    groups: Vec<String>,
    created_ms: i64,
    expires_ms: Option<i64>,
}

/// May a listener of local mode be bound here?
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl LocalTokens {
    /// Opens the directory; the first time, creates it and the token for `first`.
    ///
    /// # Errors
    /// If something is there that others can read or write, or that is no token file.
    pub fn open(dir: &Path, first: &Grant, now_ms: i64) -> Result<Self, LocalError> {
        create_private(dir)?;
        let nothing = Known { stamp: None, tokens: Err("not read yet".to_owned()) };
        let tokens = Self { dir: dir.to_owned(), known: ArcSwap::from_pointee(nothing) };
        let lock = tokens.lock()?;
        if stamp_of(&tokens.file())?.is_none() {
            let token = tokens.add(Contents::empty(), first, now_ms)?;
            let line = format!("{token}\n");
            write_private(dir, TOKEN_FILE, line.as_bytes())?;
        }
        drop(lock);
        tokens.known.store(Arc::new(Known::read(&tokens.file())?));
        Ok(tokens)
    }

    /// Draws a new token. It is returned once and kept only as a digest. Other processes that have
    /// the directory open accept it at once.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn mint(&self, grant: &Grant, now_ms: i64) -> Result<String, LocalError> {
        let lock = self.lock()?;
        let file = self.file();
        let contents = match stamp_of(&file)? {
            Some(_) => read(&file)?,
            None => Contents::empty(),
        };
        let token = self.add(contents, grant, now_ms)?;
        drop(lock);
        Ok(token)
    }

    /// The principal of a token. One `stat`, and a read of the file where it has changed.
    ///
    /// # Errors
    /// `auth.invalid_token`, `auth.expired_token`, or `auth.issuer_unavailable` if the file is gone
    /// or no longer safe.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Arc<Principal>, AuthError> {
        let known = self.known();
        let unavailable = |why: &String| AuthError::new(RefusalCode::AuthUnavailable, why);
        let tokens = known.tokens.as_ref().map_err(unavailable)?;
        let digest = Digest::of(token.as_bytes());
        // Every entry is compared, each in constant time.
        let same = |known: &&Token| {
            verify_slices_are_equal(known.digest.as_bytes(), digest.as_bytes()).is_ok()
        };
        let found = tokens.iter().filter(same).fold(None, |_, token| Some(token));
        let found = found.ok_or_else(|| AuthError::invalid("no local token is this one"))?;
        match found.principal.expires_at_ms {
            Some(end_ms) if now_ms >= end_ms => {
                let detail = "the local token has expired";
                Err(AuthError::new(RefusalCode::AuthExpired, detail))
            }
            Some(_) | None => Ok(Arc::clone(&found.principal)),
        }
    }

    /// Where the token of the first start is.
    #[must_use]
    pub fn first_token_file(&self) -> PathBuf {
        self.dir.join(TOKEN_FILE)
    }

    pub(super) fn health(&self) -> Result<(), String> {
        self.known().tokens.as_ref().map(|_tokens| ()).map_err(Clone::clone)
    }

    fn file(&self) -> PathBuf {
        self.dir.join(TOKENS_FILE)
    }

    /// What the file says now.
    fn known(&self) -> Arc<Known> {
        let known = self.known.load_full();
        let stamp = stamp_of(&self.file());
        if known.tokens.is_ok() && stamp.as_ref().is_ok_and(|stamp| *stamp == known.stamp) {
            return known;
        }
        let fresh = Known::read(&self.file()).unwrap_or_else(|error| {
            let why = std::error::Error::source(&error);
            let why = why.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
            Known { stamp: None, tokens: Err(why) }
        });
        let fresh = Arc::new(fresh);
        self.known.store(Arc::clone(&fresh));
        fresh
    }

    fn add(&self, mut contents: Contents, grant: &Grant, now: i64) -> Result<String, LocalError> {
        let subject = &grant.subject;
        if !(1..=256).contains(&subject.len()) || subject.chars().any(char::is_control) {
            return Err(LocalError::Subject);
        }
        let random = ids::random::<32>().map_err(LocalError::Random)?;
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let ttl_ms = |ttl: Duration| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let entry = Entry {
            subject: subject.clone(),
            tenant: grant.tenant.clone(),
            roles: grant.roles.clone(),
            groups: grant.groups.clone(),
            created_ms: now,
            expires_ms: grant.ttl.map(|ttl| now.saturating_add(ttl_ms(ttl))),
        };
        contents.tokens.retain(|_, entry| entry.expires_ms.is_none_or(|end| end > now));
        contents.tokens.insert(Digest::of(token.as_bytes()).to_string(), entry);
        let format = |source| LocalError::Format { path: self.file(), source };
        let text = serde_json::to_vec_pretty(&contents).map_err(format)?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            return Err(LocalError::Size { path: self.file() });
        }
        write_private(&self.dir, TOKENS_FILE, &text)?;
        Ok(token)
    }

    /// Held while the file is read and replaced, across processes. Ends with the handle.
    fn lock(&self) -> Result<File, LocalError> {
        let path = self.dir.join(LOCK_FILE);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, PRIVATE_FILE).map_err(io(&path, "opened"))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(io(&path, "locked"))?;
        Ok(File::from(file))
    }
}

impl Known {
    fn read(path: &Path) -> Result<Self, LocalError> {
        let stamp = stamp_of(path)?;
        let contents = read(path)?;
        let tokens = contents.tokens.into_iter().map(|(digest, entry)| {
            let digest = digest.parse().map_err(|error: forge_schemas::digest::DigestError| {
                let source = <serde_json::Error as serde::de::Error>::custom(error);
                LocalError::Format { path: path.to_owned(), source }
            })?;
            Ok(Token { digest, principal: Arc::new(entry.principal()) })
        });
        let tokens = tokens.collect::<Result<_, LocalError>>()?;
        Ok(Self { stamp, tokens: Ok(tokens) })
    }
}

impl Contents {
    const fn empty() -> Self {
        Self { v: 1, tokens: BTreeMap::new() }
    }
}

impl Entry {
    fn principal(self) -> Principal {
        Principal {
            id: self.subject,
            issuer: "local".to_owned(),
            kind: "user".to_owned(),
            tenant: self.tenant,
            roles: self.roles,
            groups: self.groups,
            scope: Vec::new(),
            audience: String::new(),
            acr: String::new(),
            amr: Vec::new(),
            agent: String::new(),
            act: None,
            expires_at_ms: self.expires_ms,
        }
    }
}

fn create_private(dir: &Path) -> Result<(), LocalError> {
    if let Some(parent) = dir.parent() {
        let failed = |source| LocalError::Io { path: parent.to_owned(), verb: "created", source };
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(io(dir, "created")(error)),
    }
    let stat = rustix::fs::statat(CWD, dir, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(io(dir, "examined"))?;
    let loose = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    refuse(dir, &stat, FileType::Directory, loose)
}

/// Reads the token file through one handle, so that what was checked is what is read.
fn read(path: &Path) -> Result<Contents, LocalError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let handle = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(unsafe_file(path, "is a symbolic link; remove it")),
        other => other.map_err(io(path, "opened"))?,
    };
    let stat = rustix::fs::fstat(&handle).map_err(io(path, "examined"))?;
    let others = Mode::RWXG | Mode::RWXO;
    let loose = Mode::from_raw_mode(stat.st_mode).intersects(others);
    refuse(path, &stat, FileType::RegularFile, loose)?;
    let mut text = Vec::new();
    let mut limited = File::from(handle).take(FILE_BYTES_MAX.saturating_add(1));
    let failed = |source| LocalError::Io { path: path.to_owned(), verb: "read", source };
    limited.read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(LocalError::Size { path: path.to_owned() });
    }
    let format = |source| LocalError::Format { path: path.to_owned(), source };
    let contents: Contents = serde_json::from_slice(&text).map_err(format)?;
    if contents.v != 1 {
        return Err(format(serde::de::Error::custom("the version is not 1")));
    }
    Ok(contents)
}

fn refuse(path: &Path, stat: &Stat, kind: FileType, loose: bool) -> Result<(), LocalError> {
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(unsafe_file(path, "is a link or not of the right kind; remove it"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(unsafe_file(path, "belongs to another user"));
    }
    if loose {
        return Err(unsafe_file(path, "is open to other users; take their permissions away"));
    }
    Ok(())
}

/// Identity and times of the file itself, links not followed; `None` if there is none.
fn stamp_of(path: &Path) -> Result<Option<Stamp>, LocalError> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let seconds = stat.st_mtime;
            let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
            let mode = u64::from(stat.st_mode);
            Ok(Some((stat.st_ino, mode, stat.st_size, seconds, nanoseconds)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(io(path, "examined")(error)),
    }
}

/// Replaces a file in one step: readers see the old one or the new one, also after a crash.
fn write_private(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LocalError> {
    let random = ids::random::<8>().map_err(LocalError::Random)?;
    let draft = dir.join(format!(".{name}.{}", forge_schemas::digest::hex(&random)));
    let target = dir.join(name);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&draft, flags, PRIVATE_FILE).map_err(io(&draft, "created"))?;
    let mut file = File::from(handle);
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| std::fs::rename(&draft, &target));
    let placed = placed.and_then(|()| File::open(dir)?.sync_all());
    placed.map_err(|source| {
        // The draft is of no use to anybody; the error to report is the first one.
        drop(std::fs::remove_file(&draft));
        LocalError::Io { path: target, verb: "written", source }
    })
}

fn unsafe_file(path: &Path, what: &'static str) -> LocalError {
    LocalError::Unsafe { path: path.to_owned(), what }
}

fn io(path: &Path, verb: &'static str) -> impl FnOnce(Errno) -> LocalError {
    let path = path.to_owned();
    move |error| LocalError::Io { path, verb, source: error.into() }
}

const TOKENS_FILE: &str = "tokens.json";
const TOKEN_FILE: &str = "token";
const LOCK_FILE: &str = "lock";
/// Lets secret scanners recognise a token that got somewhere it should not be.
const TOKEN_PREFIX: &str = "forge_local_";
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
