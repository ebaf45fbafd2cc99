//! What is a credential and what is not: form, place, spelling, and everything that an attacker may know of a
//! key without holding it.
//!
//! Every refusal is compared byte for byte with the one that an unknown key gets, on both doors; none of them
//! runs the slow hash.
//!
//! Never here: what a good key may do.

use keyward::domain::key::{MINT_RANDOM_BYTES, PresentedKey, RawKey, Tag};
use serde_json::json;

use crate::daemon::{Daemon, Hidden, Key};
use crate::stored;
use crate::wire::{Answer, Call};

const MISSING: &str = "Missing API key. Send it as Authorization: Bearer or as X-API-Key.";
const INVALID: &str = "Invalid API key.";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Passes,
    Missing,
    Invalid,
}

/// Sends the same headers to both doors and holds both to what is expected.
async fn check(daemon: &Daemon, told: &str, expected: Expected, dress: impl Fn(Call) -> Call) {
    let rest = daemon.call(&dress(Call::get("/v1/posts"))).await;
    let listing = Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    let rpc = daemon.call(&dress(listing)).await;
    match expected {
        Expected::Passes => assert_eq!((rest.status, rpc.status), (200, 200), "{told}: {rest:?}\n{rpc:?}"),
        Expected::Missing => check_refused(told, (&rest, MISSING), (&rpc, "Missing Authorization header.")),
        Expected::Invalid => check_refused(told, (&rest, INVALID), (&rpc, INVALID)),
    }
}

fn check_refused(told: &str, rest: (&Answer, &str), rpc: (&Answer, &str)) {
    for answer in [rest.0, rpc.0] {
        assert_eq!(answer.status, 401, "{told}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"keyward\""), "{told}");
    }
    let said = json!({"error": {"code": "unauthorized", "message": rest.1}});
    assert_eq!(rest.0.text(), said.to_string(), "{told}");
    let error = format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32001,"message":"{}"}}}}"#, rpc.1);
    assert_eq!(rpc.0.text(), error, "{told}");
}

/// A key text that differs in its secret and is well formed all the same.
pub(crate) fn near_miss(key: &Key) -> Hidden {
    let mut text = key.text.as_bytes().to_vec();
    text[20] = if text[20] == b'a' { b'b' } else { b'a' };
    let tag = Tag::parse("sk_live_").unwrap();
    let letters = || (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z');
    for (first, second) in letters().flat_map(|first| letters().map(move |second| (first, second))) {
        text[38..].copy_from_slice(&[first, second]);
        if PresentedKey::parse(&tag, &text).is_some() {
            return Hidden(String::from_utf8(text).unwrap());
        }
    }
    panic!("no check characters fit");
}

fn minted(tag: &str, seed: u8) -> String {
    RawKey::mint(&Tag::parse(tag).unwrap(), &[seed; MINT_RANDOM_BYTES]).unwrap().reveal().to_owned()
}

#[tokio::test]
async fn no_credential_is_a_missing_one_however_it_is_left_out() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    check(&daemon, "no header", Expected::Missing, |call| call).await;
    for value in ["", "Bearer", "Bearer ", "Bearer      "] {
        check(&daemon, &format!("{value:?}"), Expected::Missing, |call| call.header("Authorization", value))
            .await;
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_letter_case_and_no_other() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {}", &*key.text);
        check(&daemon, scheme, Expected::Passes, |call| call.header("Authorization", &value)).await;
    }
    for scheme in ["Basic", "Token", "Digest", "Bearer:", "ApiKey", "Bearerx", "XBearer"] {
        let value = format!("{scheme} {}", &*key.text);
        check(&daemon, scheme, Expected::Invalid, |call| call.header("Authorization", &value)).await;
    }
    check(&daemon, "no scheme", Expected::Invalid, |call| call.header("Authorization", &*key.text)).await;
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn nothing_is_trimmed_or_cut_until_it_is_a_key() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let text = &*key.text;
    daemon.is_well(&key).await;
    for (told, value) in [
        ("two spaces", format!("Bearer  {text}")),
        ("a tab", format!("Bearer\t{text}")),
        ("a comma", format!("Bearer {text},")),
        ("a second key", format!("Bearer {text}, Bearer {text}")),
        ("a parameter", format!("Bearer {text};x")),
        ("quotes", format!("Bearer \"{text}\"")),
        ("a space inside", format!("Bearer {} {}", &text[..20], &text[20..])),
        ("8 KB of spaces", format!("Bearer {}{text}", " ".repeat(8192))),
        ("an equals sign", format!("Bearer {text}=")),
        ("one more character", format!("Bearer {text}0")),
        ("one less", format!("Bearer {}", &text[..39])),
        ("capitals", format!("Bearer {}", text.to_uppercase())),
    ] {
        check(&daemon, told, Expected::Invalid, |call| call.header("Authorization", &value)).await;
    }
    // Space behind a header's value belongs to HTTP and not to the value (RFC 9110, section 5.5).
    check(&daemon, "space behind", Expected::Passes, |call| {
        call.header("Authorization", format!("Bearer {text} "))
    })
    .await;
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_in_a_url_a_cookie_a_body_or_another_header_is_no_credential() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let text = &*key.text;
    daemon.is_well(&key).await;
    let calls = [
        ("api_key", Call::get(&format!("/v1/posts?api_key={text}"))),
        ("access_token", Call::get(&format!("/v1/posts?access_token={text}"))),
        ("authorization", Call::get(&format!("/v1/posts?Authorization=Bearer%20{text}"))),
        ("cookie", Call::get("/v1/posts").header("Cookie", format!("api_key={text}"))),
        ("body", Call::post("/v1/posts", &json!({"api_key": text, "body": "x", "account_ids": ["a"]}))),
        ("proxy", Call::get("/v1/posts").header("Proxy-Authorization", format!("Bearer {text}"))),
        ("look-alike", Call::get("/v1/posts").header("X_API_Key", text)),
        ("forwarded", Call::get("/v1/posts").header("X-Forwarded-Authorization", format!("Bearer {text}"))),
    ];
    for (told, call) in calls {
        let answer = daemon.call(&call).await;
        assert_eq!((answer.status, answer.rest_error().1.as_str()), (401, MISSING), "{told}");
    }
    let user = Call::get("/v1/posts").header("Authorization", format!("Basic {text}"));
    assert_eq!(daemon.call(&user).await.rest_error().1, INVALID);
    let listing =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {"api_key": text}}});
    let rpc = daemon.call(&Call::post(&format!("/api/mcp-app?api_key={text}"), &listing)).await;
    assert_eq!((rpc.status, rpc.rpc_error().0), (401, -32001));
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn x_api_key_is_a_credential_on_rest_and_none_on_rpc() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let rest = daemon.call(&Call::get("/v1/posts").header("x-api-key", &*key.text)).await;
    assert_eq!(rest.status, 200, "{rest:?}");
    let listing = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let rpc = daemon.call(&Call::rpc(&listing).header("X-API-Key", &*key.text)).await;
    assert_eq!((rpc.status, rpc.rpc_error().0), (401, -32001), "{rpc:?}");
    daemon.finish().await;
}

#[tokio::test]
async fn two_credentials_are_400_equal_or_not() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let other = daemon.key_for(&workspace, &["*:*"]).await;
    daemon.is_well(key).await;
    let bearer = |key: &Key| ("Authorization", format!("Bearer {}", &*key.text));
    let raw = |key: &Key| ("X-API-Key", key.text.to_string());
    let pairs = [
        [bearer(key), raw(&other)],
        [bearer(key), raw(key)],
        [bearer(key), bearer(&other)],
        [bearer(key), bearer(key)],
        [raw(key), raw(&other)],
        [raw(key), raw(key)],
        [bearer(key), ("X-API-Key", String::new())],
        [("Authorization", String::new()), raw(key)],
        [("authorization", "Bearer nonsense".to_owned()), raw(key)],
    ];
    for (number, pair) in pairs.iter().enumerate() {
        let dressed = |call: Call| pair.iter().fold(call, |call, (name, value)| call.header(name, value));
        let rest = daemon.call(&dressed(Call::get("/v1/posts"))).await;
        assert_eq!(
            (rest.status, rest.rest_error().0.as_str()),
            (400, "invalid_request"),
            "pair {number}: {rest:?}"
        );
        // Even where a key is not needed.
        let document = daemon.call(&dressed(Call::get("/v1/nope"))).await;
        assert_eq!(document.status, 400, "pair {number}");
    }
    let listing = Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    let pairs = [
        [bearer(key), bearer(&other)],
        [bearer(key), bearer(key)],
        [bearer(key), raw(&other)],
        [bearer(key), raw(key)],
    ];
    for pair in pairs {
        let rpc = daemon
            .call(&pair.iter().fold(listing.clone(), |call, (name, value)| call.header(name, value)))
            .await;
        assert_eq!((rpc.status, rpc.rpc_error().0), (400, -32600), "{rpc:?}");
        assert!(rpc.json()["id"].is_null());
    }
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_of_another_brand_opens_nothing() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let body = &key.text[8..];
    let mut texts: Vec<String> = ["sk_test_", "mcp_sk_", "SK_LIVE_", "sk-live-", "sk_live", ""]
        .iter()
        .map(|tag| format!("{tag}{body}"))
        .collect();
    // Well formed under their own tags, check characters and all.
    texts.extend([minted("sk_test_", 1), minted("mcp_sk_", 2), minted("mcp_live_", 3), minted("kwadm_", 4)]);
    texts.push(daemon.admin_key().to_owned());
    for (number, text) in texts.iter().enumerate() {
        check(&daemon, &format!("text {number}"), Expected::Invalid, |call| call.bearer(text)).await;
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_malformed_key_of_every_length_is_refused_without_a_slow_hash() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let hashes = daemon.slow_hashes();
    let long: String = key.text.chars().chain("0123456789".chars().cycle()).take(4096).collect();
    let mut rest = daemon.connect().await;
    let mut rpc = daemon.connect().await;
    for len in (0..=64).chain([128, 1024, 4096]) {
        let mut text = long[..len].to_owned();
        if len == 40 {
            // At its own length the key is the key; one wrong character makes it malformed.
            text.replace_range(39..40, if text.ends_with('0') { "1" } else { "0" });
        }
        let (told, missing) = (format!("length {len}"), len == 0);
        let on_rest = rest.call(&Call::get("/v1/posts").bearer(&text)).await;
        let listing = Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        let on_rpc = rpc.call(&listing.bearer(&text)).await;
        if missing {
            check_refused(&told, (&on_rest, MISSING), (&on_rpc, "Missing Authorization header."));
        } else {
            check_refused(&told, (&on_rest, INVALID), (&on_rpc, INVALID));
        }
    }
    let huge = daemon.call(&Call::get("/v1/posts").bearer(&"a".repeat(65_536))).await;
    assert!(matches!(huge.status, 400 | 401 | 431), "{huge:?}");
    assert_eq!(daemon.slow_hashes(), hashes);
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn strange_bytes_are_refused_without_a_slow_hash_and_hurt_nobody() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let hashes = daemon.slow_hashes();
    let with = |place: usize, bytes: &[u8]| {
        let text = key.text.as_bytes();
        [b"Bearer ", &text[..place], bytes, &text[place + 1..]].concat()
    };
    let mut values = vec![
        with(0, "ѕ".as_bytes()),
        with(12, "с".as_bytes()),
        with(12, "ａ".as_bytes()),
        with(12, "🔑".as_bytes()),
        with(12, b"%73"),
        with(0, b"%73"),
        with(12, &[0]),
        with(12, &[0x7f]),
        with(39, &[0]),
        with(12, b"\\"),
        with(12, b"'"),
        [b"Bearer ", key.text.as_bytes(), &[0]].concat(),
    ];
    values.extend((0x80..=0xff).step_by(13).map(|byte| with(12, &[byte])));
    for value in values {
        for call in
            [Call::get("/v1/posts"), Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))]
        {
            let answer = daemon.call(&call.header("Authorization", &value)).await;
            assert!(matches!(answer.status, 400 | 401), "{:?}: {answer:?}", &value[7..9]);
        }
    }
    assert_eq!(daemon.slow_hashes(), hashes);
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn what_stands_about_a_key_in_the_file_or_the_api_is_not_the_key() {
    let mut daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let shown = daemon.show_key(&key).await;
    assert!(!shown.to_string().contains(&*key.text), "the admin API shows a key's text again");
    let mut at_rest = None;
    daemon
        .restart_after(|file| {
            assert!(!stored::file_holds(file, &key.text), "the file holds a key's text");
            assert!(!stored::file_holds(file, &key.text[16..38]), "the file holds a key's secret");
            at_rest = Some(stored::secrets_at_rest(file, &key.id));
        })
        .await;
    let (hash, fingerprint) = at_rest.unwrap();
    let prefix = shown["prefix"].as_str().unwrap();
    let texts = [
        ("the stored hash", hash.clone()),
        ("the hash alone", hash.rsplit('$').next().unwrap().to_owned()),
        ("the fingerprint", fingerprint.clone()),
        ("the fingerprint as a secret", format!("sk_live_{prefix}{}", &fingerprint[..24])),
        ("the prefix", prefix.to_owned()),
        ("tag and prefix", format!("sk_live_{prefix}")),
        ("the id", key.id.clone()),
    ];
    for (told, text) in texts {
        check(&daemon, told, Expected::Invalid, |call| call.bearer(&text)).await;
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_wrong_secret_learns_nothing_about_the_key_that_it_nearly_is() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let everything = json!({"permissions": ["*:*"]});
    let active = daemon.key(&workspace, everything.clone()).await;
    let revoked = daemon.key(&workspace, everything.clone()).await;
    let expired =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(10)})).await;
    let elsewhere = daemon.key(&workspace, json!({"permissions": ["*:*"], "ip_allow": ["192.0.2.1"]})).await;
    let drained =
        daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": {"limit": 0, "window_s": 60}})).await;
    daemon.revoke(&revoked).await;
    daemon.advance_secs(10);
    let hashes = daemon.slow_hashes();
    for (told, key) in [
        ("active", &active),
        ("revoked", &revoked),
        ("expired", &expired),
        ("elsewhere", &elsewhere),
        ("drained", &drained),
    ] {
        let wrong = near_miss(key);
        for _ in 0..2 {
            check(&daemon, told, Expected::Invalid, |call| call.bearer(&wrong)).await;
        }
    }
    assert_eq!(
        daemon.slow_hashes(),
        hashes,
        "a stored fingerprint tells a wrong secret without the slow hash"
    );
    // Their holders are told more.
    let expired_answer = daemon.call(&crate::daemon::list_tools(&expired)).await;
    assert_eq!(expired_answer.rpc_error().1, "API key expired.");
    daemon.is_well(&active).await;
    daemon.finish().await;
}

#[tokio::test]
async fn without_a_key_an_unknown_route_looks_like_a_known_one_and_a_public_one_is_open() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    daemon.is_well(&key).await;
    let known = daemon.call(&Call::get("/v1/posts")).await;
    let unknown = daemon.call(&Call::get("/v1/nope")).await;
    let wrong_method = daemon.call(&Call::new("PUT", "/v1/posts")).await;
    for answer in [&known, &unknown, &wrong_method] {
        assert_eq!((answer.status, &answer.body), (401, &known.body));
    }
    for path in ["/api/mcp-app", "/mcp.json"] {
        assert_eq!(daemon.call(&Call::get(path)).await.status, 200, "{path}");
    }
    daemon.is_well(&key).await;
    daemon.finish().await;
}
