//! Who may import whom.
//!
//! A room uses those on the lines before its own, never those after, and rooms on one line leave each other
//! alone; the last line is the outside, whose parts build the daemon together. Two rooms are further apart
//! than the order says: `surface` has no way to the store, and nobody but `app` knows the sandbox or the bridge.
//!
//! Never here: a rule about anything but imports and the places of files.

use crate::finders::paths_where;
use crate::source::{Path, Source};
use crate::{Finding, Rule};

/// The rooms from the inside out. `lib` is the crate's root.
pub(crate) const ROOMS: [&[&str]; 6] = [
    &["domain"],
    &["store", "dialect", "http", "clock"],
    &["engine", "gateway", "sandbox", "bridge"],
    &["surface"],
    &["config"],
    &["app", "cli", "main", "lib"],
];

pub(crate) const RULES: &[Rule] = &[
    EVERY_FILE_HAS_A_ROOM,
    ROOM_ORDER,
    CRATE_PATHS_NAME_A_ROOM,
    SURFACE_WITHOUT_STORE,
    SANDBOX_KNOWN_TO_APP,
    HTTP_WITHOUT_KEYS,
];

fn line_of(room: &str) -> Option<usize> {
    ROOMS.iter().position(|line| line.contains(&room))
}

/// The room that a path of this package leads into.
fn room_of(path: &Path) -> Option<&str> {
    match path.segments.as_slice() {
        [first, room, ..] if first == "crate" => Some(room),
        _ => None,
    }
}

/// A finding for each import of `source` that leads into a room for which `refused` holds.
fn imports_into(source: &Source, refused: impl Fn(&str) -> bool) -> Vec<Finding> {
    let leads = |path: &Path| room_of(path).is_some_and(&refused);
    paths_where(source, leads)
}

const EVERY_FILE_HAS_A_ROOM: Rule = Rule {
    holds: "every source belongs to a room",
    instead: "move it into a room, or add the room to ARCHITECTURE.md and to ROOMS in tests/tidy/rooms.rs",
    check: |source| match line_of(source.room()) {
        Some(_) => Vec::new(),
        None => vec![Finding::new(1, format!("{} is not a room", source.room()))],
    },
};

const ROOM_ORDER: Rule = Rule {
    holds: "a room uses the rooms before it, never those after it or beside it",
    instead: "let the outer room call the inner one; what a later room needs travels in the value",
    check: |source| {
        let here = line_of(source.room());
        imports_into(source, |room| {
            let there = line_of(room);
            let is_outside = here == line_of("app") && there == here;
            room != source.room() && there.is_some() && there >= here && !is_outside
        })
    },
};

const CRATE_PATHS_NAME_A_ROOM: Rule = Rule {
    holds: "a path into this package names the room it leads to",
    instead: "spell the room (`crate::domain::…`): no glob over the root, no other name for it, no macro or \
              re-export at the root",
    check: |source| {
        if source.room() == "lib" {
            return Vec::new();
        }
        let is_vague = |path: &Path| match path.segments.as_slice() {
            [only] => path.in_use && only == "crate",
            [first, room, ..] => first == "crate" && line_of(room).is_none(),
            [] => false,
        };
        paths_where(source, is_vague)
    },
};

const SURFACE_WITHOUT_STORE: Rule = Rule {
    holds: "surface never opens the store",
    instead: "ask the engine; it owns the live state and the queue of changes",
    check: |source| match source.room() {
        "surface" => imports_into(source, |room| room == "store"),
        _ => Vec::new(),
    },
};

const SANDBOX_KNOWN_TO_APP: Rule = Rule {
    holds: "nobody but app knows the sandbox or the bridge",
    instead: "reach it as an HTTP upstream over the in-memory connection that app hands out",
    check: |source| match source.room() {
        "app" | "lib" => Vec::new(),
        here => imports_into(source, |room| room != here && ["sandbox", "bridge"].contains(&room)),
    },
};

const HTTP_WITHOUT_KEYS: Rule = Rule {
    holds: "http does not know what a key is",
    instead: "hand the bytes to surface, which makes them an Attempt",
    check: |source| {
        let of_keys = ["key", "record", "decision", "hash", "proof", "permission", "*"];
        let knows = |path: &Path| of_keys.iter().any(|module| path.starts_with(&["crate", "domain", module]));
        if source.room() != "http" {
            return Vec::new();
        }
        paths_where(source, knows)
    },
};

#[test]
fn a_source_outside_every_room_is_refused() {
    EVERY_FILE_HAS_A_ROOM.holds_for(
        &[("src/auth.rs", ""), ("src/auth/mod.rs", ""), ("src/bin/second.rs", "")],
        &[("src/domain/key.rs", ""), ("src/main.rs", ""), ("src/lib.rs", ""), ("src/clock.rs", "")],
    );
}

#[test]
fn an_import_of_a_later_or_a_neighbouring_room_is_refused() {
    ROOM_ORDER.holds_for(
        &[
            ("src/domain/key.rs", "use crate::store::Store;"),
            ("src/domain/mod.rs", "fn f() { crate::clock::Clock::now() }"),
            ("src/domain/mod.rs", "use super::clock::Clock;"),
            ("src/store/mod.rs", "use crate::{domain::key::Tag, engine::Engine};"),
            ("src/store/mod.rs", "use crate::clock::Clock;"),
            ("src/dialect/rest.rs", "use super::super::http::Peer;"),
            ("src/engine/mod.rs", "use crate::gateway::Gateway;"),
            ("src/gateway/mod.rs", "fn f(x: &crate::sandbox::Sandbox) {}"),
            ("src/sandbox/mod.rs", "use crate::engine::Engine;"),
            ("src/surface/rest.rs", "use crate::config::Options;"),
            ("src/config/file.rs", "use crate::cli::arguments::Arguments;"),
            ("src/engine/mod.rs", "#[cfg(not(test))] use crate::app::App;"),
        ],
        &[
            ("src/domain/key.rs", "use super::time::Mono; use crate::domain::id::KeyId;"),
            ("src/store/mod.rs", "use crate::domain::key::Tag; use redb::Database;"),
            ("src/store/mod.rs", "use http::Uri; // the crate, not the room"),
            ("src/engine/mod.rs", "use crate::store::Store; use crate::clock::Clock;"),
            ("src/surface/rest.rs", "use crate::{engine, gateway::Gateway, dialect, http};"),
            ("src/app.rs", "use crate::config::Config; use crate::surface::rest;"),
            ("src/main.rs", "fn main() { keyward::cli::run(); }"),
            ("src/domain/key.rs", "#[cfg(test)] mod tests { use crate::clock::Manual; }"),
        ],
    );
}

#[test]
fn a_path_that_hides_its_room_is_refused() {
    CRATE_PATHS_NAME_A_ROOM.holds_for(
        &[
            ("src/engine/mod.rs", "use crate::*;"),
            ("src/surface/mod.rs", "use super::*;"),
            ("src/engine/mod.rs", "use crate as keyward_itself;"),
            ("src/engine/mod.rs", "use crate::Store;"),
        ],
        &[
            ("src/engine/pool.rs", "use super::*; pub(crate) fn f() {}"),
            ("src/engine/mod.rs", "use crate::store::Store;"),
            ("src/lib.rs", "pub use crate::engine::Verifier;"),
        ],
    );
}

#[test]
fn a_surface_that_opens_the_store_is_refused() {
    SURFACE_WITHOUT_STORE.holds_for(
        &[
            ("src/surface/admin/mod.rs", "use crate::store::Store;"),
            ("src/surface/rest.rs", "use crate::{store}; fn f() { store::Store::open() }"),
        ],
        &[
            ("src/surface/rest.rs", "use crate::engine::Engine; // not crate::store"),
            ("src/engine/mod.rs", "use crate::store::Store;"),
        ],
    );
}

#[test]
fn a_room_other_than_app_that_knows_the_sandbox_is_refused() {
    SANDBOX_KNOWN_TO_APP.holds_for(
        &[
            ("src/cli/demo.rs", "use crate::sandbox::Sandbox;"),
            ("src/surface/mod.rs", "use super::sandbox;"),
            ("src/config/upstream.rs", "use crate::bridge::Bridge;"),
            ("src/sandbox/mod.rs", "use crate::bridge::Bridge;"),
        ],
        &[
            ("src/app.rs", "use crate::sandbox::Sandbox;"),
            ("src/sandbox/posts.rs", "use crate::sandbox::Rows; use super::Rows;"),
            ("src/lib.rs", "pub mod sandbox;"),
        ],
    );
}

#[test]
fn an_http_that_knows_what_a_key_is_is_refused() {
    HTTP_WITHOUT_KEYS.holds_for(
        &[
            ("src/http/serve.rs", "use crate::domain::key::PresentedKey;"),
            ("src/http/serve.rs", "use crate::domain; fn f() -> domain::record::KeyRecord { todo!() }"),
            ("src/http/serve.rs", "use crate::domain::{time::Mono, decision::Grant};"),
            ("src/http/serve.rs", "use crate::domain::*;"),
        ],
        &[
            ("src/http/serve.rs", "use crate::domain::time::Mono; use crate::domain::address::AddressRules;"),
            ("src/surface/rest.rs", "use crate::domain::key::PresentedKey;"),
        ],
    );
}
