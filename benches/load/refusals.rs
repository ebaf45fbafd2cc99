//! Bar 4: what a refusal costs beside an acceptance.
//!
//! Two Keywards run together, the one asked for acceptances and the other for refusals, and change places in the
//! middle, so that no difference between two processes counts.
//!
//! Never here: a refusal that ends its connection.

use std::rc::Rc;

use ::keyward::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};

use crate::Bench;
use crate::client::{Requests, ask};
use crate::hot::{get, warmed};
use crate::keyward::{Behind, Files};
use crate::measure::{Contestant, Scale, Spread, together};
use crate::process::Process;
use crate::world::bars::{Bar, tell};

/// Keys of each Keyward; as many wrong texts are asked with.
const KEYS: usize = 1_000;

pub(crate) fn refusals(bench: &Bench) {
    let count = KEYS.min(bench.scale.keys);
    let sides = ["left", "right"].map(|name| {
        let files = Files::make(&bench.runtime, bench.dir(name), count);
        let process: Rc<Process> = Rc::new(files.serve(&Behind::Nobody, 2 * count).process);
        (files, process)
    });
    for (files, process) in &sides {
        // The only token of this hour.
        ask(process.address, &mut get(std::slice::from_ref(&files.slow)));
    }
    println!("\n{:<58} {:>12} {:>8}   half of them lie", "bar 4: refusals, together", "ns/request", "×");
    let half = Scale { pieces: bench.scale.pieces.div_ceil(2), ..bench.scale };
    for (name, status, requests) in KINDS {
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for (good, bad) in [(0, 1), (1, 0)] {
            let acceptances = get(&sides[good].0.keys);
            let contestants = vec![
                Contestant::new("acceptance", Rc::clone(&sides[good].1), acceptances, 204),
                Contestant::new(name, Rc::clone(&sides[bad].1), requests(&sides[bad].0), *status),
            ];
            let nanos = together(&mut warmed(bench, contestants), &bench.clock, &half);
            accepted.extend_from_slice(&nanos[0]);
            refused.extend_from_slice(&nanos[1]);
        }
        let ratio = Spread::ratio(&refused, &accepted);
        println!("  {name:<56} {:>12.0} {ratio}", Spread::of(&refused).median);
        tell("4", &format!("refusal, {name}, CPU × an acceptance"), ratio.median, Bar::Most(1.05));
    }
    let [(files, unknown), (others, wrong)] = &sides;
    let contestants = vec![
        Contestant::new("unknown", Rc::clone(unknown), unknown_keys(files), 401),
        Contestant::new("wrong secret", Rc::clone(wrong), wrong_secrets(others), 401),
    ];
    let nanos = together(&mut warmed(bench, contestants), &bench.clock, &bench.scale);
    let ratio = Spread::ratio(&nanos[1], &nanos[0]);
    println!("  {:<56} {:>12} {ratio}", "wrong secret × unknown prefix", "");
    tell("4", "wrong secret, CPU × an unknown prefix", ratio.median, Bar::Most(1.03));
}

type Kind = (&'static str, u16, fn(&Files) -> Requests);

const KINDS: &[Kind] = &[
    ("no key", 401, |_| Requests::of("GET /v1/posts HTTP/1.1\r\nhost: localhost\r\n\r\n")),
    ("malformed", 401, |_| get(&["sk_live_malformed".to_owned()])),
    ("unknown", 401, unknown_keys),
    ("wrong secret", 401, wrong_secrets),
    ("revoked", 401, |files| get(std::slice::from_ref(&files.revoked))),
    ("scope", 403, |files| get(std::slice::from_ref(&files.unscoped))),
    ("rate", 429, |files| get(std::slice::from_ref(&files.slow))),
];

fn unknown_keys(files: &Files) -> Requests {
    get(&(0..files.keys.len()).map(|number| minted(number, "")).collect::<Vec<_>>())
}

fn wrong_secrets(files: &Files) -> Requests {
    let prefix = |key: &String| key["sk_live_".len()..][..8].to_owned();
    let keys = files.keys.iter().enumerate();
    get(&keys.map(|(number, key)| minted(number, &prefix(key))).collect::<Vec<_>>())
}

/// A well-formed text that begins with this prefix and goes on as no key does.
fn minted(number: usize, prefix: &str) -> String {
    let mut drawn = [0; MINT_RANDOM_BYTES];
    for (byte, random) in drawn.iter_mut().zip(blake3::hash(&number.to_le_bytes()).as_bytes()) {
        *byte = random % 62;
    }
    for (byte, character) in drawn.iter_mut().zip(prefix.bytes()) {
        *byte = match character {
            b'0'..=b'9' => character - b'0',
            b'A'..=b'Z' => character - b'A' + 10,
            _ => character - b'a' + 36,
        };
    }
    RawKey::mint(&Tag::parse("sk_live_").unwrap(), &drawn).unwrap().reveal().to_owned()
}
