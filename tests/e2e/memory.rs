//! How much memory strangers and keys in number can make the daemon take: the real program is asked
//! what the kernel counts of it.
//!
//! Numbers are what a debug build does in seconds; every map that they fill has a bound below them.
//!
//! Never here: an assertion about how fast somebody was served.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use keyward::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};

use crate::program::{Program, configured, new_workspace, text};
use crate::random::Random;
use crate::streaming::memory_kib;
use crate::wire::{Call, Connection};

/// How much more the daemon may hold than before: what a small machine has to spare.
const MORE_KIB_MAX: u64 = 64 * 1024;

fn resident_kib(program: &Program) -> u64 {
    memory_kib(program.child.id(), "VmRSS")
}

/// A well-formed key that nobody issued.
fn stranger(tag: &Tag, numbers: &mut Random) -> RawKey {
    let mut drawn = [0; MINT_RANDOM_BYTES];
    for byte in &mut drawn {
        *byte = u8::try_from(numbers.below(248)).unwrap();
    }
    RawKey::mint(tag, &drawn).unwrap()
}

#[tokio::test]
async fn x09_strangers_and_their_addresses_leave_nothing_behind() {
    const STRANGERS: usize = 30_000;
    const AT_ONCE: usize = 100;
    let dir = configured();
    let path = dir.path().join("keyward.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("trusted_proxies = [\"127.0.0.1\"]\n{config}")).unwrap();
    let program = Program::serve(dir.path()).await;
    let made = program.admin_json(new_workspace()).await;
    let key = text(&made["default_key"]["key"]);
    assert_eq!(program.list_posts(&key).await.status, 200);
    let (tag, mut numbers) = (Tag::parse("sk_live_").unwrap(), Random::seeded());
    let before = resident_kib(&program);
    let mut stream = TcpStream::connect(program.data()).await.unwrap();
    for round in 0..STRANGERS / AT_ONCE {
        let mut asked = String::new();
        for place in 0..AT_ONCE {
            let [_, b, c, d] = u32::try_from(round * AT_ONCE + place).unwrap().to_be_bytes();
            let raw = stranger(&tag, &mut numbers);
            let line = format!(
                "GET /v1/posts HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.{b}.{c}.{d}\r\nAuthorization: Bearer {}\r\n\r\n",
                raw.reveal()
            );
            asked.push_str(&line);
        }
        stream.write_all(asked.as_bytes()).await.unwrap();
        let (mut answers, mut refused) = (Vec::new(), 0);
        while refused < AT_ONCE {
            assert!(stream.read_buf(&mut answers).await.unwrap() > 0, "the connection lives on");
            // Each answer ends with the one brace that closes two.
            let whole = answers.windows(2).filter(|two| two == b"}}").count();
            refused = whole;
        }
        let said = String::from_utf8_lossy(&answers);
        assert_eq!(said.matches("HTTP/1.1 401 ").count(), AT_ONCE, "{said}");
    }
    let after = resident_kib(&program);
    assert!(after < before + MORE_KIB_MAX, "from {before} to {after} KiB");
    assert_eq!(program.list_posts(&key).await.status, 200);
}

#[tokio::test]
async fn x10_a_start_with_many_keys_after_a_kill_serves_at_once_and_holds_none_of_them() {
    const KEYS: usize = 20_000;
    let dir = configured();
    let mut program = Program::serve(dir.path()).await;
    let made = program.admin_json(new_workspace()).await;
    let workspace = text(&made["workspace"]["id"]);
    let texts: Vec<_> = (0..KEYS).map(|number| format!("old_{number:026}")).collect();
    for batch in texts.chunks(5_000) {
        let keys: Vec<_> = batch.iter().map(|text| json!({"key": text, "random": true})).collect();
        let shape = json!({"tag": "old_", "length": 30, "alphabet": "base62"});
        let import = json!({"workspace_id": workspace, "shape": shape, "keys": keys});
        let report = program.admin_json(Call::post("/api/v1/keys/import", &import)).await;
        assert_eq!(report["taken"], batch.len(), "{report}");
    }
    program.kill();
    program = Program::serve(dir.path()).await;
    let started = resident_kib(&program);
    let mut connection = Connection::open(program.data()).await.unwrap();
    for text in [&texts[0], &texts[KEYS / 2], &texts[KEYS - 1]] {
        let answer = connection.call(&Call::get("/v1/posts").bearer(text)).await;
        assert_eq!(answer.status, 403, "a key without permissions, and a key: {answer:?}");
    }
    let empty = configured();
    let none = Program::serve(empty.path()).await;
    let without = resident_kib(&none);
    assert!(started < without + MORE_KIB_MAX / 4, "{without} KiB without keys, {started} KiB with");
}
