//! How many instructions does each step of a request cost, and did a change make one dearer?
//!
//! Time on a shared machine lies; a count does not. The bench runs itself under valgrind's callgrind, which counts what
//! happens inside `measured` alone: not the making of a world, nor what other threads do.
//! `benches/instructions.toml` is the budget. `-- --check` fails when a case costs over 3 % more than it, `-- --write`
//! renews it, in the commit that explains why; without either it prints. Guessed before measuring: a hot verify 2,500.
//!
//! Under `cargo test` each case runs a few times, without valgrind.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench"
)]

mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use keyward::domain::decision::Wanted;
use keyward::domain::denial::Denial;
use keyward::domain::permission::Permission;
use keyward::domain::rate::{Rate, Rates};
use keyward::engine::{Attempt, Door};
use world::World;
use world::checks::CHECKS;

/// Operations that are counted.
const OPERATIONS: u64 = 10_000;
/// Keys of the world, asked in turn.
const KEYS: usize = 64;
/// How much a case may grow before the check fails, in thousandths.
const GROWTH_MAX_PERMILLE: u64 = 30;

type Case = (&'static str, fn(u64));

const CASES: &[Case] = &[
    ("verify_hot", |count| verify(count, "posts:read", 1_000_000)),
    ("verify_hot_metered", |count| verify(count, "ai:generate", 1_000_000)),
    ("refused_rate", |count| verify(count, "posts:read", 0)),
    ("refused_missing", |count| refuse(count, &Err(Denial::Missing))),
    ("refused_malformed", |count| {
        refuse(count, &Ok(b"sk_live_0000000000000000000000000000000000".as_slice()));
    }),
    ("refused_revoked", refuse_revoked),
    ("refused_permission", |count| verify_as(count, "ai:generate", &["posts:read"], "permission")),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, name, count] = arguments.as_slice()
        && flag == "--case"
    {
        run(name, count.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if world::is_smoke_run() {
        names().for_each(|name| run(name, 3));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("NOT CHECKED: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
    let chosen = names().filter(|name| filter.is_none_or(|filter| name.contains(filter)));
    let counted: BTreeMap<_, _> = chosen.map(|name| (name, per_operation(name))).collect();
    let budget = budget();
    let mut has_grown = false;
    for (name, count) in &counted {
        let allowed = budget.get(*name).copied();
        let grew = allowed.is_none_or(|allowed| count * 1000 > allowed * (1000 + GROWTH_MAX_PERMILLE));
        has_grown |= grew;
        let told = allowed.map_or("not in the budget".to_owned(), |allowed| format!("budget {allowed}"));
        println!("{name:<32} {count:>9} instructions, {told}{}", if grew { " <- over" } else { "" });
    }
    if arguments.iter().any(|argument| argument == "--write") {
        std::fs::write(budget_path(), written(&counted)).unwrap();
    } else if has_grown && arguments.iter().any(|argument| argument == "--check") {
        eprintln!(
            "a case costs over 3 % more than its budget. Find out why; if the price is right, renew the budget with \
             `cargo bench --bench instructions -- --write` and say in the commit what it buys"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, _)| *name).chain(CHECKS.iter().map(|(name, _)| *name))
}

/// Does what a case names so many times.
fn run(name: &str, count: u64) {
    if let Some((_, run)) = CASES.iter().find(|(known, _)| *known == name) {
        return run(count);
    }
    let (_, make) = CHECKS.iter().find(|(known, _)| *known == name).unwrap();
    let mut check = make();
    measured(count, &mut check);
}

/// The operations of a case, in the one function that is counted.
#[inline(never)]
fn measured(count: u64, operation: &mut dyn FnMut(u64)) {
    for number in 0..count {
        operation(number);
    }
}

/// Instructions of one operation.
fn per_operation(name: &str) -> u64 {
    let out = tempfile::NamedTempFile::new().unwrap();
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=instructions::measured*"])
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--case", name, &OPERATIONS.to_string()])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let profile = std::fs::read_to_string(out.path()).unwrap();
    let total = profile.lines().find_map(|line| line.strip_prefix("summary: ")).unwrap();
    let total: u64 = total.trim().parse().unwrap();
    assert!(total > 0, "nothing was counted: the function is not found by its name");
    total / OPERATIONS
}

fn budget_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.toml")
}

fn budget() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(budget_path()).unwrap_or_default();
    toml::from_str(&text).unwrap()
}

fn written(counted: &BTreeMap<&str, u64>) -> String {
    let mut text = "# Instructions of one operation each, in the bench profile (x86-64).\n\
                    # Renewed by `cargo bench --bench instructions -- --write`.\n"
        .to_owned();
    for (name, count) in counted {
        writeln!(text, "{name} = {count}").unwrap();
    }
    text
}

fn verify(count: u64, permission: &str, limit: u64) {
    let world = World::with_rate(KEYS, &Rates::from(Rate::new(limit, 1, None).unwrap()));
    let permission = Permission::parse(permission).unwrap();
    let wanted = Wanted::Known(world.profile.requirement(&permission).unwrap());
    in_turn(&world, count, &wanted, (limit == 0).then_some("rate"));
}

fn verify_as(count: u64, permission: &str, held: &[&str], refused: &str) {
    let held: Vec<_> = held.iter().map(|text| Permission::parse(text).unwrap()).collect();
    let world = World::with_permissions(KEYS, &held);
    let permission = Permission::parse(permission).unwrap();
    let wanted = Wanted::Known(world.profile.requirement(&permission).unwrap());
    in_turn(&world, count, &wanted, Some(refused));
}

fn refuse(count: u64, credential: &Result<&[u8], Denial>) {
    let world = World::with_keys(1, KEYS);
    measured(count, &mut |_| {
        let attempt = Attempt {
            door: Door::Verify,
            profile: &world.profile,
            credential: credential.clone(),
            wanted: Wanted::Known(keyward::domain::profile::Requirement::default()),
            address: None,
            cost: 1,
        };
        black_box(world::at_once(world.engine.verify(attempt))).unwrap_err();
    });
}

fn refuse_revoked(count: u64) {
    let world = World::with_rate(KEYS, &Rates::from(Rate::new(1_000_000, 1, None).unwrap()));
    let wanted = Wanted::Known(keyward::domain::profile::Requirement::default());
    in_turn(&world, 1, &wanted, None);
    world.revoke_all();
    in_turn(&world, count, &wanted, Some("revoked"));
}

/// Asks for the same with all keys in turn, each proven before.
fn in_turn(world: &World, count: u64, wanted: &Wanted, refused: Option<&str>) {
    let ask = |place: usize| Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(world.keys[place % KEYS].reveal().as_bytes()),
        wanted: wanted.clone(),
        address: None,
        cost: 1,
    };
    for place in 0..KEYS {
        drop(world.runtime.block_on(world.engine.verify(ask(place))));
    }
    measured(count, &mut |number| {
        let place = usize::try_from(number).unwrap();
        let said = black_box(world::at_once(world.engine.verify(ask(place))));
        assert_eq!(said.err().map(|refused| refused.name()), refused);
    });
}
