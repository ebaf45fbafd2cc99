//! What a room never does, where text can show it.
//!
//! Each rule is one line of the table's second half. Test code may do what product code may not, so these
//! rules look past everything under `#[cfg(test)]`.
//!
//! Never here: a rule about who imports whom (`rooms.rs`), or one that holds for every room alike
//! (`everywhere.rs`).

use crate::Rule;
use crate::finders::{paths_where, sequences, words_among};
use crate::source::Source;

pub(crate) const RULES: &[Rule] = &[
    DOMAIN_IS_PURE,
    DOMAIN_TOUCHES_NO_IO,
    REDB_STAYS_INSIDE,
    ONLY_CLOCK_READS_TIME,
    ONLY_CONFIG_READS_THE_ENVIRONMENT,
    ONE_PLACE_RUNS_THE_SLOW_HASH,
    DOORS_START_NO_TASK,
    SURFACE_PICKS_NO_STATUS,
    INNER_ROOMS_SPEAK_NO_HTTP,
    DIALECT_LOOKS_NOTHING_UP,
];

fn in_room(source: &Source, rooms: &[&str]) -> bool {
    rooms.contains(&source.room())
}

const DOMAIN_IS_PURE: Rule = Rule {
    holds: "domain is pure: no await, no lock, no log, no clock, no randomness, no serde",
    instead: "take the time and the random bytes as arguments; give the rest to engine, or a twin type to the edge",
    check: |source| {
        if !in_room(source, &["domain"]) {
            return Vec::new();
        }
        let impure = [
            "async",
            "await",
            "Mutex",
            "RwLock",
            "Condvar",
            "tracing",
            "getrandom",
            "serde",
            "serde_json",
            "Serialize",
            "Deserialize",
            "SystemTime",
            "Instant",
            "println",
            "eprintln",
            "tokio",
            "dashmap",
            "arc_swap",
        ];
        words_among(source, &impure)
    },
};

const DOMAIN_TOUCHES_NO_IO: Rule = Rule {
    holds: "domain touches no file, socket, thread, process or environment",
    instead: "take the value as an argument; store, http and config read it",
    check: |source| {
        if !in_room(source, &["domain"]) {
            return Vec::new();
        }
        let outside: [&[&str]; 10] = [
            &["std", "fs"],
            &["std", "io"],
            &["std", "env"],
            &["std", "thread"],
            &["std", "process"],
            &["std", "os"],
            &["std", "net", "TcpStream"],
            &["std", "net", "TcpListener"],
            &["std", "net", "UdpSocket"],
            &["std", "net", "ToSocketAddrs"],
        ];
        paths_where(source, |path| outside.iter().any(|start| path.starts_with(start)))
    },
};

const REDB_STAYS_INSIDE: Rule = Rule {
    holds: "redb is named in store and sandbox alone",
    instead: "give Store a method that is a transaction and speaks domain types",
    check: |source| {
        if in_room(source, &["store", "sandbox"]) {
            return Vec::new();
        }
        paths_where(source, |path| path.enters("redb"))
    },
};

const ONLY_CLOCK_READS_TIME: Rule = Rule {
    holds: "only clock reads time",
    instead: "ask clock::Clock once per request and pass the time on",
    check: |source| {
        if in_room(source, &["clock"]) {
            return Vec::new();
        }
        let readings =
            ["SystemTime", "Instant", "Timestamp", "Zoned", "Utc", "Local"].map(|clock| [clock, "now"]);
        paths_where(source, |path| {
            readings.iter().any(|reading| path.ends_with(reading)) || path.ends_with(&["Uuid", "now_v7"])
        })
    },
};

const ONLY_CONFIG_READS_THE_ENVIRONMENT: Rule = Rule {
    holds: "only config reads the environment",
    instead: "let config read it and pass an Options on; clap reads the arguments",
    check: |source| {
        if in_room(source, &["config"]) {
            return Vec::new();
        }
        paths_where(source, |path| path.starts_with(&["std", "env"]))
    },
};

const ONE_PLACE_RUNS_THE_SLOW_HASH: Rule = Rule {
    holds: "one place runs the slow hash: engine/slow_hash, over domain's definitions",
    instead: "ask engine's slow-hash pool, which is bounded and runs one flight per fingerprint",
    check: |source| {
        let places = ["domain/hash", "domain/proof", "engine/slow_hash"];
        let inside = source.parts().collect::<Vec<_>>().join("/");
        if places.iter().any(|place| inside.starts_with(place)) {
            return Vec::new();
        }
        let mut found = words_among(source, &["prove_by_slow_hash"]);
        found.extend(paths_where(source, |path| {
            path.ends_with(&["StoredHash", "create"])
                || ["argon2", "bcrypt", "scrypt", "pbkdf2"].iter().any(|slow| path.enters(slow))
        }));
        found
    },
};

const DOORS_START_NO_TASK: Rule = Rule {
    holds: "surface, domain and dialect start no task and no thread",
    instead: "let app start it, under a name and with an end, and hand over a channel",
    check: |source| {
        if !in_room(source, &["surface", "domain", "dialect"]) {
            return Vec::new();
        }
        let mut found = paths_where(source, |path| {
            let starts =
                ["spawn", "spawn_blocking", "spawn_local"].iter().any(|spawn| path.ends_with(&[spawn]));
            starts && (path.starts_with(&["tokio"]) || path.starts_with(&["std", "thread"]))
        });
        for start in ["spawn", "spawn_blocking", "spawn_local", "spawn_scoped"] {
            found.extend(sequences(source, &[".", start, "("]));
        }
        found
    },
};

const SURFACE_PICKS_NO_STATUS: Rule = Rule {
    holds: "surface picks no status for a refusal",
    instead: "make it a Denial or a Fault and let dialect say its status; a success is OK, CREATED, ACCEPTED or NO_CONTENT",
    check: |source| {
        if !in_room(source, &["surface"]) {
            return Vec::new();
        }
        let is_success = |name: &str| ["OK", "CREATED", "ACCEPTED", "NO_CONTENT"].contains(&name);
        let is_constant = |name: &str| name == "*" || !name.contains(|c: char| c.is_lowercase());
        let mut found = paths_where(source, |path| match path.segments.as_slice() {
            [.., status, name] => status == "StatusCode" && is_constant(name) && !is_success(name),
            _ => false,
        });
        for call in ["status", "from_u16"] {
            let success = ["200", "201", "202", "204"].map(|number| format!("has `{call}({number}`"));
            let picked = sequences(source, &[call, "(", "0"]);
            found.extend(picked.into_iter().filter(|finding| !success.contains(&finding.what)));
        }
        found
    },
};

const INNER_ROOMS_SPEAK_NO_HTTP: Rule = Rule {
    holds: "domain, store, clock and engine build no response, parse no header, know no status code",
    instead: "give surface a value that says what happened; dialect and surface put it on the wire",
    check: |source| {
        if !in_room(source, &["domain", "store", "clock", "engine"]) {
            return Vec::new();
        }
        let wire = ["http", "hyper", "hyper_util", "http_body", "http_body_util"];
        let mut found = paths_where(source, |path| wire.iter().any(|name| path.enters(name)));
        found.extend(words_among(source, &["StatusCode", "HeaderMap", "HeaderValue"]));
        found
    },
};

const DIALECT_LOOKS_NOTHING_UP: Rule = Rule {
    holds: "dialect looks nothing up: it waits for nothing and shares nothing",
    instead: "put what it must say into the Denial, the Fault or the profile it is given",
    check: |source| match source.room() {
        "dialect" => {
            words_among(source, &["async", "await", "Mutex", "RwLock", "tokio", "dashmap", "arc_swap"])
        }
        _ => Vec::new(),
    },
};

#[test]
fn an_impure_domain_is_refused() {
    DOMAIN_IS_PURE.holds_for(
        &[
            ("src/domain/key.rs", "async fn f() {}"),
            ("src/domain/key.rs", "fn f() { g().await }"),
            ("src/domain/meter.rs", "use std::sync::{Arc, Mutex};"),
            ("src/domain/meter.rs", "struct S(std::sync::RwLock<u8>);"),
            ("src/domain/mod.rs", "fn f() { tracing::info!(\"x\") }"),
            ("src/domain/id.rs", "fn f(b: &mut [u8]) { getrandom::fill(b) }"),
            ("src/domain/id.rs", "#[derive(serde::Serialize)] struct S;"),
            ("src/domain/time.rs", "struct Mono(std::time::Instant);"),
        ],
        &[
            ("src/domain/meter.rs", "use std::sync::atomic::AtomicU64; // never a Mutex"),
            (
                "src/domain/key.rs",
                "const WORD: &str = \"async\"; #[cfg(test)] mod tests { use std::sync::Mutex; }",
            ),
            ("src/engine/mod.rs", "async fn f() { tracing::info!(\"x\") }"),
        ],
    );
}

#[test]
fn a_domain_that_touches_the_outside_is_refused() {
    DOMAIN_TOUCHES_NO_IO.holds_for(
        &[
            ("src/domain/profile.rs", "use std::fs;"),
            ("src/domain/profile.rs", "use std::{fmt, env::var};"),
            ("src/domain/address.rs", "fn f() { std::net::TcpStream::connect(\"x\") }"),
        ],
        &[
            ("src/domain/address.rs", "use std::net::IpAddr; use std::fmt;"),
            ("src/store/mod.rs", "use std::fs;"),
        ],
    );
}

#[test]
fn redb_outside_store_and_sandbox_is_refused() {
    REDB_STAYS_INSIDE.holds_for(
        &[
            ("src/engine/mod.rs", "use redb::Database;"),
            ("src/engine/mod.rs", "use redb as file;"),
            ("src/app.rs", "fn f(e: redb::Error) {}"),
        ],
        &[
            ("src/store/tables.rs", "use redb::TableDefinition;"),
            ("src/sandbox/mod.rs", "use redb::Database;"),
            ("src/app.rs", "const FILE: &str = \"keyward.redb\"; // redb::Database"),
        ],
    );
}

#[test]
fn reading_time_outside_clock_is_refused() {
    ONLY_CLOCK_READS_TIME.holds_for(
        &[
            ("src/engine/mod.rs", "use std::time::Instant; fn f() { Instant::now() }"),
            ("src/store/mod.rs", "fn f() { std::time::SystemTime::now() }"),
            ("src/http/mod.rs", "use tokio::time::Instant as Tick; fn f() { Tick::now() }"),
            ("src/sandbox/mod.rs", "fn f() { jiff::Timestamp::now() }"),
            ("src/engine/mod.rs", "fn f() { uuid::Uuid::now_v7() }"),
        ],
        &[
            ("src/clock.rs", "fn f() { std::time::Instant::now() }"),
            ("src/engine/mod.rs", "fn f(clock: &Clock) { clock.now() } // not Instant::now()"),
            ("src/app.rs", "async fn f() { tokio::time::sleep(SECOND).await }"),
        ],
    );
}

#[test]
fn reading_the_environment_outside_config_is_refused() {
    ONLY_CONFIG_READS_THE_ENVIRONMENT.holds_for(
        &[
            ("src/cli/mod.rs", "fn f() { std::env::args() }"),
            ("src/main.rs", "use std::env; fn main() { env::var(\"HOME\"); }"),
            ("src/app.rs", "use std::env::temp_dir;"),
        ],
        &[
            ("src/config/environment.rs", "fn f() { std::env::var_os(\"KEYWARD_DATA_DIR\") }"),
            (
                "src/cli/mod.rs",
                "const VERSION: &str = env!(\"CARGO_PKG_VERSION\"); fn f() { Arguments::parse() }",
            ),
        ],
    );
}

#[test]
fn a_second_place_that_runs_the_slow_hash_is_refused() {
    ONE_PLACE_RUNS_THE_SLOW_HASH.holds_for(
        &[
            ("src/engine/verify.rs", "fn f() { hash.prove_by_slow_hash(key) }"),
            (
                "src/surface/admin.rs",
                "use crate::domain::hash::StoredHash; fn f() { StoredHash::create(key) }",
            ),
            ("src/store/mod.rs", "use argon2::Argon2;"),
            ("src/cli/init.rs", "use argon2 as slow;"),
        ],
        &[
            ("src/engine/slow_hash.rs", "fn f() { hash.prove_by_slow_hash(key) }"),
            ("src/engine/slow_hash/pool.rs", "use argon2::Block;"),
            ("src/domain/hash.rs", "use argon2::Argon2; fn prove_by_slow_hash() {}"),
            ("src/domain/proof/mod.rs", "fn prove_by_slow_hash() {}"),
            ("src/config/mod.rs", "struct Hash { argon2: Costs } fn f(h: Hash) { h.argon2; }"),
            ("src/engine/verify.rs", "#[cfg(test)] mod tests { fn f() { StoredHash::create(key) } }"),
        ],
    );
}

#[test]
fn a_door_that_starts_a_task_is_refused() {
    DOORS_START_NO_TASK.holds_for(
        &[
            ("src/surface/rest.rs", "fn f() { tokio::spawn(g()); }"),
            ("src/surface/rest.rs", "use tokio::task; fn f() { task::spawn_blocking(g); }"),
            ("src/surface/mcp.rs", "fn f() { std::thread::Builder::new().spawn(g); }"),
            ("src/dialect/mod.rs", "use std::thread::spawn;"),
            ("src/domain/mod.rs", "fn f(set: &mut JoinSet<()>) { set.spawn(g()); }"),
        ],
        &[
            ("src/app.rs", "fn f() { tokio::spawn(g()); }"),
            ("src/engine/slow_hash.rs", "fn f() { std::thread::Builder::new().spawn(g) }"),
            (
                "src/surface/rest.rs",
                "fn f() { spawned(); } #[cfg(test)] mod tests { fn f() { tokio::spawn(g()); } }",
            ),
        ],
    );
}

#[test]
fn a_surface_that_picks_a_refusals_status_is_refused() {
    SURFACE_PICKS_NO_STATUS.holds_for(
        &[
            ("src/surface/rest.rs", "fn f() { answer(StatusCode::FORBIDDEN) }"),
            ("src/surface/rest.rs", "fn f() { answer(http::StatusCode::IM_A_TEAPOT) }"),
            ("src/surface/rest.rs", "use http::StatusCode as S; fn f() { answer(S::NOT_FOUND) }"),
            ("src/surface/rest.rs", "use http::StatusCode::*;"),
            ("src/surface/rest.rs", "fn f() { Response::builder().status(403) }"),
            ("src/surface/rest.rs", "fn f() { StatusCode::from_u16(429) }"),
        ],
        &[
            ("src/surface/admin.rs", "fn f() { answer(StatusCode::CREATED); answer(StatusCode::OK) }"),
            (
                "src/surface/rest.rs",
                "fn f() { StatusCode::from_u16(spoken.status); builder.status(spoken.status) }",
            ),
            ("src/surface/rest.rs", "fn f() { builder.status(204) }"),
            ("src/dialect/rest.rs", "fn f() { StatusCode::FORBIDDEN }"),
        ],
    );
}

#[test]
fn an_inner_room_that_speaks_http_is_refused() {
    INNER_ROOMS_SPEAK_NO_HTTP.holds_for(
        &[
            ("src/engine/verify.rs", "use http::HeaderMap;"),
            ("src/engine/verify.rs", "fn f() -> hyper::Response<()> {}"),
            ("src/store/mod.rs", "fn f(status: StatusCode) {}"),
        ],
        &[
            ("src/engine/verify.rs", "use crate::domain::denial::Denial; struct S { http: u8 }"),
            ("src/surface/rest.rs", "use http::HeaderMap;"),
        ],
    );
}

#[test]
fn a_dialect_that_looks_something_up_is_refused() {
    DIALECT_LOOKS_NOTHING_UP.holds_for(
        &[
            ("src/dialect/rest.rs", "async fn f() {}"),
            ("src/dialect/rest.rs", "static SEEN: std::sync::Mutex<u8> = x;"),
        ],
        &[
            ("src/dialect/rest.rs", "use crate::domain::denial::Denial; fn f(d: &Denial) -> u16 { 403 }"),
            ("src/gateway/mod.rs", "async fn f() {}"),
        ],
    );
}
