//! Tokens that must not be let in, each with the code it is refused with. Unless the point is the
//! signature, each is rightly signed by the issuer: nothing else may save us.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};

use super::forge::*;
use crate::auth::jwks::Found;
use crate::auth::token::Unverified;
use crate::auth::{Algorithm, Issuer, bearer, verify};

fn refused(token: &str, issuer: &Issuer) -> Option<(RefusalCode, String)> {
    // As it comes in: through the header first.
    let credential = format!("Bearer {token}");
    let outcome = bearer(Some(&credential))
        .and_then(|token| verify(token, &key_set(&jwks()), issuer, NOW_MS));
    outcome.err().map(|error| (error.code, error.detail))
}

#[track_caller]
fn check(name: &str, token: &str, code: RefusalCode, why: &str) {
    let (seen, detail) = refused(token, &issuer()).unwrap_or_else(|| panic!("{name} was let in"));
    assert_eq!(seen, code, "{name}: {detail}");
    assert!(detail.contains(why), "{name}: refused for another reason: {detail}");
}

/// A token of the issuer with these claims changed.
fn but(change: Value) -> String {
    es256(&header("ES256", "p256"), &with(claims(), change))
}

/// A token of the issuer with this of the header changed.
fn headed(change: Value) -> String {
    es256(&with(header("ES256", "p256"), change), &claims())
}

#[test]
fn a_good_token_of_each_algorithm_is_let_in() {
    for alg in ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"] {
        assert_eq!(refused(&good_with(alg), &issuer()), None, "{alg}");
    }
}

#[test]
fn tokens_without_a_signature_are_refused() {
    let header = |alg: Value| json!({"alg": alg, "typ": "at+jwt"}).to_string();
    let spellings = ["none", "None", "NONE", "nOnE", "none ", "", "null", "NONE\u{0}"];
    for alg in spellings {
        for signature in ["", "AA"] {
            let (header, payload) = (b64(header(alg.into())), b64(claims().to_string()));
            let token = format!("{header}.{payload}.{signature}");
            check("alg none", &token, RefusalCode::AuthInvalid, "is not one of ES256");
        }
    }
    for alg in [json!(null), json!(0), json!(["ES256"]), json!({}), json!(true)] {
        let token = raw(&header(alg), &claims().to_string());
        check("alg of another type", &token, RefusalCode::AuthInvalid, "alg");
    }
    let token = raw(r#"{"typ":"at+jwt"}"#, &claims().to_string());
    check("no alg", &token, RefusalCode::AuthInvalid, "no alg");
}

#[test]
fn a_public_key_is_not_a_shared_secret() {
    let spki = KEYS.rsa.public_key().as_ref().to_vec();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &spki)
    );
    let jwk = rsa_jwk(&KEYS.rsa, "rsa").to_string();
    let point = KEYS.p256.public_key().as_ref().to_vec();
    let secrets =
        [("DER", spki), ("PEM", pem.into_bytes()), ("JWK", jwk.into_bytes()), ("point", point)];
    for (name, secret) in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
        for alg in ["HS256", "hs256"] {
            let header = header(alg, "rsa").to_string();
            let token = signed(header.as_bytes(), claims().to_string().as_bytes(), sign);
            check(name, &token, RefusalCode::AuthInvalid, "is not one of ES256");
        }
        // The MAC under a right algorithm name.
        let header = header("RS256", "rsa").to_string();
        let token = signed(header.as_bytes(), claims().to_string().as_bytes(), sign);
        check(name, &token, RefusalCode::AuthInvalid, "signature does not hold");
    }
}

#[test]
fn the_key_has_to_fit_the_algorithm() {
    let make = |alg: &str, kid: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        signed(header(alg, kid).to_string().as_bytes(), claims().to_string().as_bytes(), sign)
    };
    let p256 = ec(&KEYS.p256);
    let why = "not for its algorithm";
    for (alg, kid) in [
        ("RS256", "p256"),
        ("ES256", "rsa"),
        ("ES384", "p256"),
        ("EdDSA", "p256"),
        ("PS256", "ed25519"),
    ] {
        check("wrong kind of key", &make(alg, kid, &p256), RefusalCode::AuthInvalid, why);
    }
    let why = "signature does not hold";
    let pss = make("RS256", "rsa", &rsa(&RSA_PSS_SHA256));
    check("PSS signature as PKCS #1", &pss, RefusalCode::AuthInvalid, why);
    let pkcs1 = make("PS256", "rsa", &rsa(&RSA_PKCS1_SHA256));
    check("PKCS #1 signature as PSS", &pkcs1, RefusalCode::AuthInvalid, why);
    // RFC 8725 §3.1: a key that names its algorithm is for no other.
    let bound = with(rsa_jwk(&KEYS.rsa, "rsa"), json!({"alg": "RS256"}));
    let keys = key_set(&json!({ "keys": [bound] }));
    assert!(verify(&good_with("RS256"), &keys, &issuer(), NOW_MS).is_ok());
    let error = verify(&good_with("PS256"), &keys, &issuer(), NOW_MS).unwrap_err();
    assert!(error.detail.contains("not for its algorithm"), "{error}");
    // Even a caller that picks the wrong key gets no answer from it.
    let Found::Key(key) = keys.find(Algorithm::Rs256, Some("rsa")) else { panic!("no key") };
    let token = good();
    let error = Unverified::parse(&token).unwrap().check_signature(key).unwrap_err();
    assert!(error.detail.contains("not for the algorithm"), "{error}");
    check("not allowed", &good_with("RS384"), RefusalCode::AuthInvalid, "is not allowed");
}

#[test]
fn signatures_that_do_not_hold_are_refused() {
    let token = good();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let why = "signature does not hold";
    // CVE-2022-21449: r = s = 0 held for every message.
    for bytes in [vec![0; 64], vec![0; 63], vec![0; 72], vec![0xff; 64], Vec::new()] {
        let token = format!("{message}.{}", b64(bytes));
        check("made-up signature", &token, RefusalCode::AuthInvalid, why);
    }
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let n = forge_schemas::digest::unhex(order).unwrap();
    let token = format!("{message}.{}", b64([n.clone(), n].concat()));
    check("r = s = n", &token, RefusalCode::AuthInvalid, why);
    let stranger = signed(
        header("ES256", "p256").to_string().as_bytes(),
        claims().to_string().as_bytes(),
        ec(&KEYS.stranger),
    );
    check("a stranger's key", &stranger, RefusalCode::AuthInvalid, why);
    let (head, _) = message.split_once('.').unwrap();
    let payload = b64(with(claims(), json!({"sub": "root"})).to_string());
    let swapped = format!("{head}.{payload}.{signature}");
    check("another payload", &swapped, RefusalCode::AuthInvalid, why);
    // 80 of 86 characters: still base64url.
    let truncated = &token[..token.len() - 6];
    check("truncated", truncated, RefusalCode::AuthInvalid, why);
}

#[test]
fn keys_that_the_token_brings_are_not_used() {
    let stranger = ec_jwk(&KEYS.stranger, "p256");
    let brought = [
        json!({ "jwk": stranger }),
        json!({"jku": "https://evil.example/jwks.json"}),
        json!({"x5u": "https://evil.example/chain.pem"}),
        json!({"x5c": ["MIIB"], "x5t": "AAAA"}),
    ];
    for change in brought {
        let header = with(header("ES256", "p256"), change.clone());
        let payload = claims().to_string();
        let forged = signed(header.to_string().as_bytes(), payload.as_bytes(), ec(&KEYS.stranger));
        check("a key of its own", &forged, RefusalCode::AuthInvalid, "signature does not hold");
        // With a right signature they mean nothing.
        assert_eq!(refused(&es256(&header, &claims()), &issuer()), None, "{change}");
    }
}

#[test]
fn the_kid_is_only_compared() {
    let path = "../../../../dev/null";
    let long = "k".repeat(257);
    for kid in ["unknown", path, "p256\u{0}", "P256", "p256'--", " p256", "http://evil.example/k"] {
        check(
            "kid",
            &headed(json!({ "kid": kid })),
            RefusalCode::AuthInvalid,
            "no key of the issuer",
        );
    }
    check("huge kid", &headed(json!({ "kid": long })), RefusalCode::AuthInvalid, "257 bytes");
    check("empty kid", &headed(json!({"kid": ""})), RefusalCode::AuthInvalid, "0 bytes");
    check("number kid", &headed(json!({"kid": 7})), RefusalCode::AuthInvalid, "kid in the header");
    // One key of the four is a P-256 key, so a token without a kid can mean only that one.
    assert_eq!(refused(&headed(json!({"kid": null})), &issuer()), None);
}

#[test]
fn without_a_kid_two_fitting_keys_are_one_too_many() {
    let two = json!({"keys": [ec_jwk(&KEYS.p256, "a"), ec_jwk(&KEYS.stranger, "b")]});
    let token = headed(json!({"kid": null}));
    let error = verify(&token, &key_set(&two), &issuer(), NOW_MS).unwrap_err();
    assert_eq!(error.code, RefusalCode::AuthInvalid);
    assert!(error.detail.contains("more than one key"), "{error}");
}

#[test]
fn header_extensions_are_refused() {
    for change in [
        json!({"crit": ["exp"], "exp": NOW_S}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": true}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
    ] {
        check("extension", &headed(change), RefusalCode::AuthInvalid, "is not supported");
    }
    check("nested", &headed(json!({"cty": "JWT"})), RefusalCode::AuthInvalid, "nested");
}

#[test]
fn only_access_tokens_are_let_in() {
    for typ in ["JWT", "jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "at+jwt ", "at+jwtx", ""] {
        check("typ", &headed(json!({ "typ": typ })), RefusalCode::AuthInvalid, "not at+jwt");
    }
    check("no typ", &headed(json!({"typ": null})), RefusalCode::AuthInvalid, "not at+jwt");
    check("typ 1", &headed(json!({"typ": 1})), RefusalCode::AuthInvalid, "typ");
    for typ in ["application/at+jwt", "AT+JWT", "Application/At+Jwt"] {
        assert_eq!(refused(&headed(json!({ "typ": typ })), &issuer()), None, "{typ}");
    }
}

#[test]
fn an_id_token_is_not_an_access_token_even_where_typ_does_not_tell() {
    let lax = Issuer { accept_typ_jwt: true, ..issuer() };
    let plain = with(header("ES256", "p256"), json!({"typ": "JWT"}));
    assert_eq!(refused(&es256(&plain, &claims()), &lax), None);
    assert_eq!(refused(&headed(json!({"typ": null})), &lax), None);
    for (change, why) in [
        (json!({"nonce": "n"}), "nonce"),
        (json!({"at_hash": "h"}), "at_hash"),
        (json!({"c_hash": "h"}), "c_hash"),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), "events"),
        (json!({"token_use": "id"}), "not an access token"),
        (json!({"typ": "ID"}), "not an access token"),
        (json!({"typ": "Refresh"}), "not an access token"),
        (json!({"azp": AUDIENCE}), "audience is the client"),
        (json!({"client_id": "HTTPS://gateway.example/mcp/"}), "audience is the client"),
    ] {
        let token = es256(&plain, &with(claims(), change));
        let (code, detail) = refused(&token, &lax).unwrap();
        assert_eq!(code, RefusalCode::AuthInvalid);
        assert!(detail.contains(why), "{why}: {detail}");
    }
    // Where typ says what it is, a client may call itself.
    assert_eq!(refused(&but(json!({"azp": AUDIENCE})), &issuer()), None);
    let dpop = es256(&with(plain, json!({"typ": "dpop+jwt"})), &claims());
    assert!(refused(&dpop, &lax).is_some());
}

#[test]
fn issuers_are_compared_exactly() {
    for iss in [
        "https://evil.example",
        "https://idp.example/",
        "https://IDP.example",
        "https://idp.example.evil.example",
        "http://idp.example",
        " https://idp.example",
        "https://idp.example\u{0}",
        "",
    ] {
        check("iss", &but(json!({ "iss": iss })), RefusalCode::AuthIssuer, "not configured");
    }
    check("no iss", &but(json!({"iss": null})), RefusalCode::AuthClaims, "no iss");
    check("two iss", &but(json!({"iss": [ISSUER]})), RefusalCode::AuthInvalid, "iss");
}

#[test]
fn the_audience_has_to_be_this_gateway() {
    for aud in [
        json!("https://other.example/mcp"),
        json!("https://gateway.example"),
        json!("https://gateway.example/mcp2"),
        json!("https://gateway.example/mcp/git"),
        json!("https://gateway.example/mcp//"),
        json!("https://gateway.example/MCP"),
        json!("https://gateway.example.evil.example/mcp"),
        json!("https://gateway.example@evil.example/mcp"),
        json!("https://evil.example/https://gateway.example/mcp"),
        json!("https://gateway.example/x/../mcp"),
        json!("https://gateway.example/%6dcp"),
        json!("https://gateway.example:8443/mcp"),
        json!("http://gateway.example/mcp"),
        json!("https://gateway.example/mcp?x"),
        json!("https://gateway.example/mcp#x"),
        json!("https://gateway.example\\mcp"),
        json!(" https://gateway.example/mcp"),
        json!("*"),
        json!(""),
        json!([]),
        json!(["https://other.example/mcp", "https://gateway.example"]),
    ] {
        let name = aud.to_string();
        check(&name, &but(json!({ "aud": aud })), RefusalCode::AuthAudience, "not this gateway");
    }
    check("no aud", &but(json!({"aud": null})), RefusalCode::AuthClaims, "no aud");
    for aud in [json!(1), json!({"0": AUDIENCE}), json!([AUDIENCE, 1])] {
        check("aud", &but(json!({ "aud": aud })), RefusalCode::AuthInvalid, "aud");
    }
}

#[test]
fn the_audience_may_be_spelled_as_uris_may() {
    for aud in [
        json!("HTTPS://GATEWAY.example/mcp"),
        json!("https://gateway.example/mcp/"),
        json!("https://gateway.example:443/mcp"),
        json!(["https://other.example", "https://gateway.example/mcp"]),
    ] {
        assert_eq!(refused(&but(json!({ "aud": aud })), &issuer()), None, "{aud}");
    }
}

#[test]
fn times_are_kept() {
    use RefusalCode::{AuthClaims, AuthExpired, AuthInvalid, AuthNotYetValid};
    for (name, change, code) in [
        ("no exp", json!({"exp": null}), AuthClaims),
        ("expired", json!({"exp": NOW_S - 31}), AuthExpired),
        ("expired at the edge of the leeway", json!({"exp": NOW_S - 30}), AuthExpired),
        ("expired long ago", json!({"exp": 0}), AuthExpired),
        ("negative", json!({"exp": -1}), AuthInvalid),
        ("text", json!({"exp": (NOW_S + 600).to_string()}), AuthInvalid),
        ("huge", json!({"exp": u64::MAX}), AuthInvalid),
        ("huge and broken", json!({"exp": 1e300}), AuthInvalid),
        ("in milliseconds", json!({"exp": NOW_S * 1000}), AuthInvalid),
        ("an array", json!({"exp": [NOW_S + 600]}), AuthInvalid),
        ("not yet", json!({"nbf": NOW_S + 31}), AuthNotYetValid),
        ("from the future", json!({"iat": NOW_S + 31}), AuthNotYetValid),
        ("nbf is text", json!({"nbf": "0"}), AuthInvalid),
        ("iat is true", json!({"iat": true}), AuthInvalid),
    ] {
        check(name, &but(change), code, "");
    }
    let null = raw(
        &header("ES256", "p256").to_string(),
        &claims().to_string().replace(&format!("\"exp\":{}", NOW_S + 600), "\"exp\":null"),
    );
    check("exp null", &null, AuthInvalid, "exp");
    for change in [
        json!({"exp": NOW_S - 29}),
        json!({"exp": 1_795_176_000.5}),
        json!({"nbf": NOW_S + 30, "iat": NOW_S + 30}),
    ] {
        assert_eq!(refused(&but(change.clone()), &issuer()), None, "{change}");
    }
}

#[test]
fn a_bound_token_is_not_a_bearer_token() {
    for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!(1)] {
        check("cnf", &but(json!({ "cnf": cnf })), RefusalCode::AuthInvalid, "bound");
    }
}

#[test]
fn equal_keys_are_refused_at_every_depth() {
    let header_text = header("ES256", "p256").to_string();
    let claims_text = claims().to_string();
    let twice = |text: &str, more: &str| text.replacen('{', &format!("{{{more},"), 1);
    let why = "not strict JSON";
    for token in [
        raw(&twice(&header_text, r#""alg":"none""#), &claims_text),
        raw(&twice(&header_text, r#""\u0061lg":"ES256""#), &claims_text),
        raw(&header_text, &twice(&claims_text, r#""sub":"root""#)),
        raw(&header_text, &twice(&claims_text, r#""x":[{"a":1,"a":1}]"#)),
    ] {
        check("equal keys", &token, RefusalCode::AuthInvalid, why);
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let cases: Vec<(&str, String, &str)> = vec![
        ("two parts", format!("{header}.{payload}"), "three parts"),
        ("one part", header.to_owned(), "three parts"),
        ("dots", "..".to_owned(), "header"),
        ("a trailing dot", format!("{token}."), "three parts"),
        ("a leading dot", format!(".{token}"), "three parts"),
        ("JWE", format!("{header}.a.b.c.d"), "three parts"),
        ("many dots", ".".repeat(9000), "three parts"),
        ("padding", format!("{header}.{payload}.{signature}=="), "signature is not base64url"),
        ("padding within", format!("{header}==.{payload}.{signature}"), "b64token"),
        ("standard alphabet", format!("{header}.{payload}.{signature}+/"), "not base64url"),
        ("a space before", format!(" {token}x y"), "b64token"),
        ("a space within", format!("{header}. {payload}.{signature}"), "b64token"),
        ("a tab after", format!("{token}\t"), "b64token"),
        ("two tokens", format!("{token}, {token}"), "b64token"),
        ("a line end", format!("{token}\r\n"), "b64token"),
        ("oversized", format!("{header}.{}.{signature}", "A".repeat(16 * 1024)), "bytes"),
        ("empty", String::new(), "b64token"),
        ("JSON serialization", json!({"payload": payload}).to_string(), "b64token"),
    ];
    for (name, token, why) in cases {
        check(name, &token, RefusalCode::AuthInvalid, why);
    }
    // The last character of a signature carries bits that decode to nothing.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let bits = format!("{header}.{payload}.{}{next}", &signature[..signature.len() - 1]);
    check("loose bits", &bits, RefusalCode::AuthInvalid, "signature is not base64url");
}

#[test]
fn parts_that_are_not_json_objects_are_refused() {
    let header = header("ES256", "p256").to_string();
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    let payloads: Vec<Vec<u8>> = vec![
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"null".to_vec(),
        b"".to_vec(),
        b"{".to_vec(),
        b"{} {}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"sub\":\"\xff\"}".to_vec(),
        b"{\"sub\":\"\\ud800\"}".to_vec(),
        b"{\"exp\":NaN}".to_vec(),
        b"{\"exp\":1e999}".to_vec(),
        deep.into_bytes(),
    ];
    for payload in payloads {
        let token = signed(header.as_bytes(), &payload, ec(&KEYS.p256));
        check("payload", &token, RefusalCode::AuthInvalid, "payload is not strict JSON");
        let token = signed(&payload, claims().to_string().as_bytes(), ec(&KEYS.p256));
        check("header", &token, RefusalCode::AuthInvalid, "header is not strict JSON");
    }
}

#[test]
fn details_never_quote_the_token() {
    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    let spoiled = [
        token[..token.len() - 4].to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}!", parts[0], parts[1], parts[2]),
        raw(&header("ES256", "p256").to_string(), r#"{"secret":"hunter2","secret":1}"#),
        raw(&header("ES256", "p256").to_string(), r#"{"secret":"hunter2"#),
    ];
    for token in spoiled {
        let (_, detail) = refused(&token, &issuer()).unwrap();
        assert!(!detail.contains("hunter2") && !detail.contains(parts[1]), "{detail}");
    }
}
