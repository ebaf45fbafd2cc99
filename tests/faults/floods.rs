//! Wrong secrets by the thousand, at every door at once, against keys that need the slow hash; and clients who hang up.
//!
//! How many hashes run at a time, and whose places they take, is counted under `engine::slow_hash`; here the whole
//! binary is asked what it ran, what the kernel counts of its memory, and whether owners still get in.
//!
//! Never here: an assertion about how fast somebody was served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, configured, new_workspace, text};
use crate::harness::wire::{Call, PATIENCE, call_once};

/// Wrong secrets of one flood.
const WRONG: usize = 1_000;
/// Connections over which they come.
const CONNECTIONS: usize = 100;
/// Imported keys, each of a head of its own.
const KEYS: usize = 1_000;
/// Hashes that may wait (`slow_hash.queue_max` by itself).
const QUEUE_MAX: u64 = 64;
/// How much more memory a flood may take: no hash beyond the workers' own, and what waits.
const MORE_KIB_MAX: u64 = 48 * 1024;

/// A key of another system: its head is what that system showed.
fn old_text(key: usize, secret: usize) -> String {
    format!("old_{key:04}{secret:022}")
}

/// A daemon with keys that nothing but the slow hash can prove, and one of our own that is warm.
struct Flooded {
    daemon: Program,
    warm: Hidden,
    _dir: tempfile::TempDir,
}

impl Flooded {
    async fn start() -> Self {
        let dir = configured();
        let path = dir.path().join("keyward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        // So that every caller has an address of its own.
        std::fs::write(&path, format!("trusted_proxies = [\"127.0.0.1\"]\n{config}")).unwrap();
        let daemon = Program::serve(dir.path()).await;
        let made = daemon.admin_json(new_workspace()).await;
        let (workspace, warm) = (text(&made["workspace"]["id"]), Hidden(text(&made["default_key"]["key"])));
        // Key 0 alone has an owner; what the others' hashes are of nobody knows.
        let record = |key: usize| {
            let prefix = &old_text(key, 0)[..8];
            let output = (key > 0).then(|| [u8::try_from(key % 256).unwrap(); 32]);
            let hash = argon2id_of(&old_text(key, 0), &salt(key), output);
            json!({"hash": hash, "prefix": prefix, "permissions": ["*:*"]})
        };
        let records: Vec<_> = (0..KEYS).map(record).collect();
        let shape = json!({"tag": "old_", "length": 30, "alphabet": "base62", "head_length": 8});
        let import = json!({"workspace_id": workspace, "shape": shape, "keys": records});
        let report = daemon.admin_json(Call::post("/api/v1/keys/import", &import)).await;
        assert_eq!(report["taken"], KEYS, "{}", report["results"][0]);
        assert_eq!(daemon.list_posts(&warm).await.status, 200);
        Self { daemon, warm, _dir: dir }
    }

    /// Presents each text at one of the doors, many at once, while the owner of a warm key is served; how many were
    /// told that they are wrong, and how many that there is no place now.
    async fn present(&self, texts: Vec<String>) -> (usize, usize) {
        let texts = Arc::new(texts);
        let next = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (texts, next, doors) = (Arc::clone(&texts), Arc::clone(&next), Doors::of(&self.daemon));
            callers.spawn(async move {
                let (mut wrong, mut busy) = (0, 0);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(text) = texts.get(number) else { return (wrong, busy) };
                    let is_busy = doors.is_busy(text, number).await;
                    wrong += usize::from(!is_busy);
                    busy += usize::from(is_busy);
                }
            });
        }
        let (mut wrong, mut busy) = (0, 0);
        while let Some(ended) = callers.join_next().await {
            let ended = ended.unwrap();
            (wrong, busy) = (wrong + ended.0, busy + ended.1);
            assert_eq!(self.daemon.list_posts(&self.warm).await.status, 200);
        }
        assert_eq!(wrong + busy, texts.len());
        (wrong, busy)
    }

    /// Slow hashes that were run since the start.
    async fn slow_hashes(&self) -> u64 {
        let metrics = call_once(self.daemon.admin, &Call::get("/metrics")).await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("keyward_slow_hashes_total "));
        line.expect("hashes are counted").parse().unwrap()
    }

    /// The owner of a key that was never proven gets in, coming back as told.
    async fn owner_gets_in(&self) {
        let call = Call::get("/v1/posts").bearer(&old_text(0, 0)).header("X-Forwarded-For", "192.0.2.1");
        let admitted = async {
            loop {
                let answer = call_once(self.daemon.data(), &call).await;
                match answer.status {
                    200 => break,
                    503 => tokio::time::sleep(Duration::from_millis(100)).await,
                    _ => panic!("an owner is refused: {answer:?}"),
                }
            }
        };
        tokio::time::timeout(2 * PATIENCE, admitted).await.expect("nobody is locked out");
    }

    async fn finish(self) {
        let (ended, said) = self.daemon.end_by("TERM").await;
        assert_eq!(ended.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Where a key can be presented.
struct Doors {
    data: SocketAddr,
    admin: SocketAddr,
    admin_key: Hidden,
}

impl Doors {
    fn of(daemon: &Program) -> Self {
        Self { data: daemon.data, admin: daemon.admin, admin_key: daemon.admin_key.clone() }
    }

    /// A request with a wrong text, each of an address of its own.
    fn call(&self, text: &str, number: usize) -> (SocketAddr, Call) {
        let [.., b, c, d] = number.to_be_bytes();
        let address = format!("10.{b}.{c}.{d}");
        let (to, call) = match number % 4 {
            0 => (self.data, Call::get("/v1/posts").bearer(text)),
            1 => {
                let message = json!({"jsonrpc": "2.0", "id": "1", "method": "tools/list"});
                (self.data, Call::rpc(&message).bearer(text))
            }
            2 => {
                let asked = json!({"key": text, "ip": address});
                (self.admin, Call::post("/api/v1/verify", &asked).bearer(&self.admin_key))
            }
            _ => (self.admin, Call::get("/api/v1/workspaces").bearer(text)),
        };
        (to, call.header("X-Forwarded-For", address))
    }

    /// Presents a wrong text; whether there was no place for it.
    async fn is_busy(&self, text: &str, number: usize) -> bool {
        let (to, call) = self.call(text, number);
        let answer = call_once(to, &call).await;
        let is_wrong = answer.status == 401 || answer.status == 200 && answer.json()["code"] == "unknown";
        assert!(is_wrong || answer.status == 503, "door {}: {answer:?}", number % 4);
        !is_wrong
    }

    /// Sends a wrong text and goes.
    async fn hang_up(&self, text: &str, number: usize) {
        let (to, call) = self.call(text, number);
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&call.bytes(to)).await.unwrap();
    }
}

fn salt(key: usize) -> [u8; 16] {
    (key as u128).to_be_bytes()
}

/// The stored hash of a text, or one that has this output in its place.
fn argon2id_of(text: &str, salt: &[u8], output: Option<[u8; 32]>) -> String {
    let output = output.unwrap_or_else(|| {
        let params = argon2::Params::new(19_456, 2, 1, Some(32)).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut output = [0; 32];
        argon2.hash_password_into(text.as_bytes(), salt, &mut output).unwrap();
        output
    });
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${output}")
}

/// Presents the texts and checks what they cost.
async fn is_borne(flooded: &Flooded, texts: Vec<String>) {
    // The first hash of all brings the worker's memory.
    flooded.present(vec![old_text(1, 1)]).await;
    let (hashes, memory_kib) = (flooded.slow_hashes().await, flooded.daemon.memory_kib("VmRSS"));
    let (wrong, busy) = flooded.present(texts).await;
    let hashes = flooded.slow_hashes().await - hashes;
    println!("flood: {wrong} were wrong, {busy} found no place, {hashes} hashes");
    assert!(hashes > 0, "nobody's text was looked at");
    // Three of four doors look at these texts at all.
    assert!(hashes <= wrong as u64 + QUEUE_MAX, "{hashes} hashes for {wrong} answers");
    let more_kib = flooded.daemon.memory_kib("VmRSS").saturating_sub(memory_kib);
    assert!(more_kib < MORE_KIB_MAX, "{more_kib} KiB more");
    flooded.owner_gets_in().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_c04_c07_a_flood_for_one_prefix_at_every_door_is_bounded_and_its_owner_gets_in() {
    let flooded = Flooded::start().await;
    is_borne(&flooded, (1..=WRONG).map(|secret| old_text(0, secret)).collect()).await;
    flooded.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c02_c04_a_flood_for_a_thousand_prefixes_at_every_door_is_bounded_and_owners_get_in() {
    let flooded = Flooded::start().await;
    is_borne(&flooded, (0..KEYS).map(|key| old_text(key, 1)).collect()).await;
    flooded.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c06_five_hundred_clients_who_hang_up_cost_no_more_than_the_line_holds() {
    let flooded = Flooded::start().await;
    flooded.present(vec![old_text(1, 1)]).await;
    let (hashes, memory_kib) = (flooded.slow_hashes().await, flooded.daemon.memory_kib("VmRSS"));
    let doors = Doors::of(&flooded.daemon);
    for number in 0..500 {
        doors.hang_up(&old_text(number, 2), number).await;
    }
    assert_eq!(flooded.daemon.list_posts(&flooded.warm).await.status, 200);
    flooded.owner_gets_in().await;
    let (hashes, now_kib) = (flooded.slow_hashes().await - hashes, flooded.daemon.memory_kib("VmRSS"));
    println!("hang-ups: {hashes} hashes for 500 who did not wait");
    assert!(now_kib < memory_kib + MORE_KIB_MAX, "from {memory_kib} to {now_kib} KiB");
    flooded.finish().await;
}
