//! Local mode: tokens in a directory, fixed mode, and the `Authorization` header itself.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forge_schemas::ids::Tenant;
use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::forge::{NOW_MS, TestClock};
use crate::auth::{
    Authenticator, Grant, LocalError, LocalTokens, Settings, authorization, bearer, is_loopback,
};

/// A directory that ends with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = forge_schemas::digest::hex(&crate::ids::random::<8>().unwrap());
        let path = std::env::temp_dir().join(format!("forge-auth-{name}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn tokens(&self) -> PathBuf {
        self.0.join("auth")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn grant(subject: &str, ttl: Option<Duration>) -> Grant {
    let tenant = Tenant::parse("default").unwrap();
    let (roles, groups) = (vec!["owner".to_owned()], vec!["home".to_owned()]);
    Grant { subject: subject.to_owned(), tenant, roles, groups, ttl }
}

fn open(dir: &Path) -> Result<LocalTokens, LocalError> {
    LocalTokens::open(dir, &grant("me", None), NOW_MS)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_start_makes_one_private_token() {
    let scratch = Scratch::new();
    let dir = scratch.tokens();
    let tokens = open(&dir).unwrap();
    let token = std::fs::read_to_string(tokens.first_token_file()).unwrap();
    let principal = tokens.verify(token.trim_end(), NOW_MS).unwrap();
    assert_eq!((principal.id.as_str(), principal.issuer.as_str()), ("me", "local"));
    assert_eq!(
        (principal.roles.as_slice(), principal.expires_at_ms),
        (&["owner".to_owned()][..], None)
    );
    assert_eq!((mode(&dir), mode(&dir.join("token"))), (0o700, 0o600));
    assert_eq!(mode(&dir.join("tokens.json")), 0o600);
    let stored = std::fs::read_to_string(dir.join("tokens.json")).unwrap();
    assert!(!stored.contains(token.trim_end()) && stored.contains("sha256:"), "{stored}");
    // 256 bits after the prefix.
    assert_eq!(token.trim_end().strip_prefix("forge_local_").unwrap().len(), 43);
    // The second start keeps it.
    assert!(open(&dir).unwrap().verify(token.trim_end(), NOW_MS).is_ok());
}

#[test]
fn a_token_minted_by_another_process_works_at_once() {
    let scratch = Scratch::new();
    let server = open(&scratch.tokens()).unwrap();
    let command = open(&scratch.tokens()).unwrap();
    let hour = Duration::from_secs(3600);
    let mut all = Vec::new();
    for number in 0..20 {
        let token = command.mint(&grant(&format!("user-{number}"), Some(hour)), NOW_MS).unwrap();
        assert_eq!(server.verify(&token, NOW_MS).unwrap().id, format!("user-{number}"));
        all.push(token);
    }
    for token in all {
        assert!(server.verify(&token, NOW_MS + 3_599_999).is_ok());
        let error = server.verify(&token, NOW_MS + 3_600_000).unwrap_err();
        assert_eq!(error.code, RefusalCode::AuthExpired);
    }
    // No draft is left behind.
    let names = std::fs::read_dir(scratch.tokens()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lock", "token", "tokens.json"]);
}

#[test]
fn many_minters_lose_no_token() {
    let scratch = Scratch::new();
    let dir = scratch.tokens();
    let server = open(&dir).unwrap();
    let minted = |worker: u32| {
        let tokens = open(&dir).unwrap();
        let mint = |number| tokens.mint(&grant(&format!("{worker}-{number}"), None), NOW_MS);
        (0..10).map(|number| mint(number).unwrap()).collect::<Vec<_>>()
    };
    let minted = &minted;
    let all: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|worker| scope.spawn(move || minted(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 40);
    for token in all {
        assert!(server.verify(&token, NOW_MS).is_ok());
    }
}

#[test]
fn a_token_that_is_nobodys_is_refused() {
    let scratch = Scratch::new();
    let tokens = open(&scratch.tokens()).unwrap();
    let real = std::fs::read_to_string(tokens.first_token_file()).unwrap();
    let real = real.trim_end();
    let stored = std::fs::read_to_string(scratch.tokens().join("tokens.json")).unwrap();
    let digest = stored.split('"').find(|part| part.starts_with("sha256:")).unwrap().to_owned();
    let long = format!("{real}x");
    for token in [&real[..real.len() - 1], &long, &real.to_uppercase(), "x", "", &digest] {
        let error = tokens.verify(token, NOW_MS).unwrap_err();
        assert_eq!(error.code, RefusalCode::AuthInvalid, "{token}");
        assert!(!error.detail.contains(real));
    }
}

#[test]
fn what_others_can_reach_is_refused_at_the_start() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 8] = [
        ("file readable by the group", |dir| chmod(&dir.join("tokens.json"), 0o640)),
        ("file writable by all", |dir| chmod(&dir.join("tokens.json"), 0o602)),
        ("directory writable by the group", |dir| chmod(dir, 0o770)),
        ("directory writable by all", |dir| chmod(dir, 0o703)),
        ("file behind a link", |dir| {
            std::fs::rename(dir.join("tokens.json"), dir.join("real")).unwrap();
            symlink(dir.join("real"), dir.join("tokens.json")).unwrap();
        }),
        ("directory behind a link", |dir| {
            let real = dir.with_extension("real");
            std::fs::rename(dir, &real).unwrap();
            symlink(real, dir).unwrap();
        }),
        ("a directory as the file", |dir| {
            std::fs::remove_file(dir.join("tokens.json")).unwrap();
            std::fs::create_dir(dir.join("tokens.json")).unwrap();
        }),
        ("a link as the lock", |dir| {
            std::fs::remove_file(dir.join("lock")).unwrap();
            symlink("/dev/null", dir.join("lock")).unwrap();
        }),
    ];
    for (name, spoil) in spoil {
        let scratch = Scratch::new();
        drop(open(&scratch.tokens()).unwrap());
        spoil(&scratch.tokens());
        assert!(open(&scratch.tokens()).is_err(), "{name}");
    }
}

#[test]
fn a_file_that_becomes_unsafe_lets_nobody_in_until_it_is_mended() {
    let scratch = Scratch::new();
    let tokens = open(&scratch.tokens()).unwrap();
    let file = scratch.tokens().join("tokens.json");
    let token = std::fs::read_to_string(tokens.first_token_file()).unwrap();
    let verify = || tokens.verify(token.trim_end(), NOW_MS).map_err(|error| error.code);
    chmod(&file, 0o644);
    assert_eq!(verify().unwrap_err(), RefusalCode::AuthUnavailable);
    assert!(tokens.health().is_err());
    chmod(&file, 0o600);
    assert!(verify().is_ok());
    let good = std::fs::read(&file).unwrap();
    for bad in ["", "{", "[]", r#"{"v":2,"tokens":{}}"#, r#"{"v":1,"tokens":{"x":1}}"#] {
        std::fs::write(&file, bad).unwrap();
        assert_eq!(verify().unwrap_err(), RefusalCode::AuthUnavailable, "{bad}");
    }
    std::fs::write(&file, good).unwrap();
    assert!(verify().is_ok());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(verify().unwrap_err(), RefusalCode::AuthUnavailable);
}

#[test]
fn subjects_that_cannot_be_shown_are_not_minted() {
    let scratch = Scratch::new();
    let tokens = open(&scratch.tokens()).unwrap();
    for subject in ["", "a\nb", &"a".repeat(257)] {
        assert!(matches!(tokens.mint(&grant(subject, None), NOW_MS), Err(LocalError::Subject)));
    }
}

#[tokio::test]
async fn local_mode_and_fixed_mode_stand_behind_the_same_door() {
    let scratch = Scratch::new();
    let settings = Settings::Local { dir: scratch.tokens(), first: grant("me", None) };
    let http = reqwest::Client::builder;
    let local = Authenticator::new(settings, TestClock::new(), http()).unwrap();
    let token = local.local().unwrap().mint(&grant("you", None), NOW_MS).unwrap();
    let principal = local.verify(Some(&format!("bearer  {token}"))).await.unwrap();
    assert_eq!(principal.id, "you");
    assert_eq!(local.verify(None).await.unwrap_err().code, RefusalCode::AuthMissing);
    assert_eq!(local.health(), [("local".to_owned(), Ok(()))]);
    let fixed = Settings::Fixed((*principal).clone());
    let fixed = Authenticator::new(fixed, TestClock::new(), http()).unwrap();
    assert_eq!(fixed.verify(None).await.unwrap(), principal);
    assert_eq!(fixed.verify(Some("Bearer x")).await.unwrap(), principal);
    assert!(local.is_loopback_only() && fixed.is_loopback_only());
}

#[test]
fn one_bearer_credential_is_read_and_nothing_else() {
    use RefusalCode::{AuthInvalid, AuthMissing};
    let check = |values: &[&[u8]], expected: Result<&str, RefusalCode>| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(value).unwrap());
        }
        let read = authorization(&headers).and_then(bearer).map_err(|error| error.code);
        assert_eq!(read, expected, "{values:?}");
    };
    check(&[b"Bearer abc"], Ok("abc"));
    check(&[b"bEaReR   a.b-c_d~e+f/g=="], Ok("a.b-c_d~e+f/g=="));
    check(&[], Err(AuthMissing));
    check(&[b""], Err(AuthMissing));
    check(&[b"Basic YTpi"], Err(AuthMissing));
    check(&[b"DPoP abc"], Err(AuthMissing));
    check(&[b"Bearerabc"], Err(AuthMissing));
    check(&[b"Bearer"], Err(AuthInvalid));
    check(&[b"Bearer "], Err(AuthInvalid));
    check(&[b"Bearer ="], Err(AuthInvalid));
    check(&[b"Bearer a b"], Err(AuthInvalid));
    check(&[b"Bearer\tabc"], Err(AuthMissing));
    check(&[b"Bearer a=b"], Err(AuthInvalid));
    check(&[b"Bearer a,b"], Err(AuthInvalid));
    check(&[b"Bearer \"abc\""], Err(AuthInvalid));
    check(&[b"Bearer ab\xff"], Err(AuthInvalid));
    check(&[b"Bearer abc", b"Bearer abc"], Err(AuthInvalid));
    check(&[b"Basic YTpi", b"Bearer abc"], Err(AuthInvalid));
    check(&[format!("Bearer {}", "a".repeat(16 * 1024 + 1)).as_bytes()], Err(AuthInvalid));
}

#[test]
fn loopback_is_told_from_the_rest() {
    for (address, expected) in [
        ("127.0.0.1:80", true),
        ("127.8.8.8:80", true),
        ("[::1]:80", true),
        ("[::ffff:127.0.0.1]:80", true),
        ("0.0.0.0:80", false),
        ("[::]:80", false),
        ("192.0.2.1:80", false),
    ] {
        assert_eq!(is_loopback(&address.parse().unwrap()), expected, "{address}");
    }
}
