//! What changes with a million keys: refusals, first uses, starts, memory?
//!
//! In the process, over a file of a million generated keys: what the walk takes after which an unknown key needs no
//! read; unknown keys and wrong secrets against an acceptance of a warm key, interleaved in one run; what a million
//! distinct unknown keys leave behind; the first use of keys that were not used since the start, one after the other and
//! many at once. Then the real binary on the same files: from its start to its first answer, to a key that it has not
//! met, after a clean stop and after kill -9; its memory when idle, with ten thousand keys in use and with all.
//!
//! Guessed before measuring: the walk 4 s; a refusal 1.0 × an acceptance, and both refusals the same within 3 %; a first
//! use 40 µs alone (two wake-ups of a thread) and 20 µs among many; a start 60 ms; 300 MiB.
//!
//! `-- process` and `-- program` ask for one half. The file is made once and kept under `target/`. Without `--bench` it runs
//! with 2,000 keys, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use keyward::clock::Clock;
use keyward::domain::decision::Wanted;
use keyward::domain::key::{MINT_RANDOM_BYTES, PREFIX_LEN, RawKey};
use keyward::domain::profile::Requirement;
use keyward::engine::{Attempt, Door};
use serde_json::Value;
use world::World;
use world::bars::{Bar, tell};
use world::daemon::Caller;
use world::imported::{copied, raw_key};

/// Keys that ask over sockets at once.
const CALLERS: usize = 16;
/// First uses at once, where many are.
const AT_ONCE: usize = 64;

struct Scale {
    keys: usize,
    /// Of each kind, in each of [`ROUNDS`].
    refusals: usize,
    first_uses: usize,
    in_use: usize,
}

const ROUNDS: usize = 20;

fn main() {
    let scale = if world::is_smoke_run() {
        Scale { keys: 2_000, refusals: 50, first_uses: 500, in_use: 200 }
    } else {
        Scale { keys: 1_000_000, refusals: 20_000, first_uses: 50_000, in_use: 10_000 }
    };
    let clock = Clock::machine();
    let is_asked = |part: &str| {
        let other = if part == "process" { "program" } else { "process" };
        !std::env::args().any(|argument| argument == other)
    };
    if is_asked("process") {
        in_the_process(&scale, &clock);
    }
    if is_asked("program") {
        as_a_program(&scale, &clock);
    }
}

fn in_the_process(scale: &Scale, clock: &Clock) {
    let world = World::imported(scale.keys);
    let (walked, walk) = taken(clock, || world.runtime.block_on(world.engine.keep_known()).unwrap());
    assert_eq!(walked.map(|walked| walked.pieces), Some(scale.keys));
    tell("16", "walk over all keys behind a start, s", walk / 1e9, Bar::Told);

    refusals(scale, &world, clock);

    let before = resident_mib(std::process::id());
    let mut number = 1 << 40;
    for _ in 0..scale.keys {
        number += 1;
        assert!(once(world.engine.verify(attempt(&world, &stranger(&world, number)))).is_err());
    }
    let grown = resident_mib(std::process::id()) - before;
    tell("X09", "memory left behind by as many unknown keys, MiB", grown, Bar::Most(64.0));

    // From the end: the refusals warmed the first ones.
    let mut cold = world.keys.iter().rev();
    let alone = cold.by_ref().take(scale.first_uses / 10).collect::<Vec<_>>();
    let ((), all) = taken(clock, || {
        for key in &alone {
            world.runtime.block_on(world.engine.verify(attempt(&world, key))).unwrap();
        }
    });
    tell("8", "first use, one after the other, µs", all / 1e3 / alone.len() as f64, Bar::Most(25.0));
    let world = Arc::new(world);
    let from = scale.first_uses / 10;
    let ((), all) = taken(clock, || {
        let runs: Vec<_> = (0..AT_ONCE)
            .map(|run| {
                let world = Arc::clone(&world);
                let last = world.keys.len() - 1;
                let places = (from + run..from + scale.first_uses).step_by(AT_ONCE);
                let asks = {
                    let world = Arc::clone(&world);
                    async move {
                        for place in places {
                            world.engine.verify(attempt(&world, &world.keys[last - place])).await.unwrap();
                        }
                    }
                };
                world.runtime.spawn(asks)
            })
            .collect();
        for run in runs {
            world.runtime.block_on(run).unwrap();
        }
    });
    tell("8", "first use, 64 at once, µs each", all / 1e3 / scale.first_uses as f64, Bar::Most(25.0));
    assert_eq!(world.engine.slow_hashes(), 0);
}

fn refusals(scale: &Scale, world: &World, clock: &Clock) {
    let warm = &world.keys[..10.min(scale.keys)];
    for key in warm {
        world.runtime.block_on(world.engine.verify(attempt(world, key))).unwrap();
    }
    let mut number = 0_u64;
    let mut each = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let mut texts = |make: &dyn Fn(u64) -> RawKey| -> Vec<_> {
            (0..scale.refusals)
                .map(|_| {
                    number += 1;
                    make(number)
                })
                .collect()
        };
        let unknown = texts(&|number| stranger(world, number));
        let wrong = texts(&|number| wrong_secret(world, number));
        let all = |texts: &[RawKey]| {
            taken(clock, || {
                texts.iter().filter(|text| once(world.engine.verify(attempt(world, text))).is_err()).count()
            })
        };
        let (refused, time) = all(&unknown);
        assert_eq!(refused, unknown.len());
        each[0].push(time);
        let (refused, time) = all(&wrong);
        assert_eq!(refused, wrong.len());
        each[1].push(time);
        let (accepted, time) = taken(clock, || {
            let asks = (0..scale.refusals)
                .map(|place| once(world.engine.verify(attempt(world, &warm[place % warm.len()]))));
            asks.flatten().count()
        });
        assert_eq!(accepted, scale.refusals);
        each[2].push(time);
        let blake = || std::hint::black_box(blake3::keyed_hash(&[7; 32], std::hint::black_box(&[b'k'; 40])));
        each[3].push(taken(clock, || (0..scale.refusals).for_each(|_| _ = blake())).1);
    }
    let [unknown, wrong, accepted, blake] = each.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] / scale.refusals as f64
    });
    tell("4", "unknown key in the process, × an acceptance", unknown / accepted, Bar::Most(1.05));
    tell("4", "wrong secret in the process, × an acceptance", wrong / accepted, Bar::Most(1.05));
    tell("4", "wrong secret, × an unknown prefix", wrong / unknown, Bar::Most(1.05));
    tell("4", "unknown key in the process, × keyed BLAKE3", unknown / blake, Bar::Told);
    tell("4", "an acceptance of ten warm keys, × keyed BLAKE3", accepted / blake, Bar::Told);
}

fn as_a_program(scale: &Scale, clock: &Clock) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tag = keyward::domain::key::Tag::parse("sk_live_").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = copied(&tag, scale.keys);
    let text = format!(
        "data_dir = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"sandbox\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n[cache]\nproofs_max = 1_000_000\n",
        files.path().display()
    );
    std::fs::write(dir.path().join("keyward.toml"), text).unwrap();
    // The first start makes the first admin key.
    Program::start(dir.path()).end("TERM");
    let ask = |program: &Program, number: usize| {
        let body = format!(r#"{{"key":"{}","permission":"posts:read"}}"#, raw_key(&tag, number).reveal());
        program.verify_call(&body)
    };
    for (after, signal) in [("a clean stop", "KILL"), ("kill -9", "TERM")] {
        let ((program, answer), time) = taken(clock, || {
            let program = Program::start(dir.path());
            let request = ask(&program, 7);
            let answer =
                runtime.block_on(async { Caller::connect(program.admin, request).await.call().await });
            (program, answer)
        });
        assert!(answer.1.contains("\"valid\":true"), "{answer:?}");
        tell("16", &format!("start to first answer after {after}, ms"), time / 1e6, Bar::Most(100.0));
        program.end(signal);
    }
    let program = Program::start(dir.path());
    std::thread::sleep(std::time::Duration::from_secs(if world::is_smoke_run() { 1 } else { 10 }));
    tell("12", "memory, idle, all keys in the file, MiB", resident_mib(program.child.id()), Bar::Told);
    // The first ones touch a segment of the cache each, which has room for all.
    for (many, bar) in [(scale.in_use, Bar::Told), (scale.keys, Bar::Most(250.0))] {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let asks: Vec<_> =
                    (caller..many).step_by(CALLERS).map(|number| ask(&program, number)).collect();
                let admin = program.admin;
                runtime.spawn(async move {
                    let mut caller = Caller::connect(admin, String::new()).await;
                    for request in asks {
                        let answer = caller.call_with(&request).await;
                        assert!(answer.1.contains("\"valid\":true"), "{answer:?}");
                    }
                })
            })
            .collect();
        for caller in callers {
            runtime.block_on(caller).unwrap();
        }
        let what = format!("memory, {many} of {} keys in use, MiB", scale.keys);
        tell("12", &what, resident_mib(program.child.id()), bar);
    }
    program.end("TERM");
}

fn attempt<'a>(world: &'a World, key: &'a RawKey) -> Attempt<'a> {
    Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(key.reveal().as_bytes()),
        wanted: Wanted::Known(Requirement::default()),
        address: None,
        cost: 1,
    }
}

/// A well-formed text of no key.
fn stranger(world: &World, number: u64) -> RawKey {
    RawKey::mint(&world.profile.tag, &drawn(number)).unwrap()
}

/// The same with the prefix of one.
fn wrong_secret(world: &World, number: u64) -> RawKey {
    let key = &world.keys[usize::try_from(number).unwrap() % world.keys.len()];
    let mut drawn = drawn(number);
    for (byte, character) in drawn.iter_mut().take(PREFIX_LEN).zip(key.prefix().unwrap().as_bytes()) {
        *byte = match character {
            b'0'..=b'9' => character - b'0',
            b'A'..=b'Z' => character - b'A' + 10,
            _ => character - b'a' + 36,
        };
    }
    RawKey::mint(&world.profile.tag, &drawn).unwrap()
}

fn drawn(number: u64) -> [u8; MINT_RANDOM_BYTES] {
    let mut drawn = [0; MINT_RANDOM_BYTES];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut drawn);
    drawn.map(|byte| byte % 62)
}

/// The outcome of what never waits.
fn once<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waited"),
    }
}

/// What it came to and how many nanoseconds it took.
fn taken<T>(clock: &Clock, work: impl FnOnce() -> T) -> (T, f64) {
    let begun = clock.now().mono.nanos();
    let done = work();
    (done, (clock.now().mono.nanos() - begun) as f64)
}

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The real binary; killed when it is dropped.
struct Program {
    child: Child,
    admin: SocketAddr,
    admin_key: String,
}

impl Program {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(["serve", "--config", "keyward.toml", "--json"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let admin = told["admin"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let admin_key = std::fs::read_to_string(dir.join("admin.key")).unwrap().trim().to_owned();
        Self { child, admin, admin_key }
    }

    fn verify_call(&self, body: &str) -> String {
        format!(
            "POST /api/v1/verify HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.admin_key,
            body.len()
        )
    }

    fn end(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
