//! Signatures from the RFCs, checked with the keys that stand beside them.

use serde_json::{Value, json};

use crate::auth::jwks::{Found, KeySet};
use crate::auth::token::Unverified;

fn holds(jwk: Value, token: &str) -> bool {
    let document = json!({ "keys": [jwk] }).to_string();
    let keys = KeySet::parse(document.as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.skipped()), (1, 0));
    let token = Unverified::parse(token).unwrap();
    let Found::Key(key) = keys.find(token.algorithm(), token.kid()) else { panic!("no key") };
    token.check_signature(key).is_ok()
}

#[test]
fn rfc_7515_a_2_rs256_holds() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
        P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaS\
        HSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_\
        I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly\
        9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu\
        3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f\
        _nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC\
        -eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVr\
        Bp0igcN_IoypGlUPQGe77Rw";
    assert!(holds(json!({"kty": "RSA", "n": n, "e": "AQAB"}), token));
}

#[test]
fn rfc_7515_a_3_es256_holds() {
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly\
        9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw\
        5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(holds(jwk, token));
}

#[test]
fn rfc_8037_a_4_ed25519_holds_over_its_message() {
    // Its payload is text, not JSON, so it is no token; the signature is checked all the same.
    let jwk = json!({"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let document = json!({ "keys": [jwk] }).to_string();
    let keys = KeySet::parse(document.as_bytes()).unwrap();
    let algorithm = crate::auth::Algorithm::EdDsa;
    let Found::Key(key) = keys.find(algorithm, None) else { panic!("no key") };
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVv\
        pAr_MuM0KAg";
    let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    let verifier = (provider.verifier_factory)(&algorithm.library(), key.material()).unwrap();
    let signature =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature);
    assert!(verifier.verify(message, &signature.unwrap()).is_ok());
}
