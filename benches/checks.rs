//! What does each single check of a request cost?
//!
//! A bucket, two windows at once, a permission, a meter, the question that a tether is asked before each piece of a
//! body, the strict reading of a JSON-RPC message of 300 bytes; the fast hash beside them as the measure. Guessed before
//! measuring, in nanoseconds: 10, 40, 1, 15, 60, 900.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use world::checks::CHECKS;

fn checks(c: &mut Criterion) {
    let mut group = c.benchmark_group("checks");
    for (name, make) in CHECKS {
        let (mut check, mut number) = (make(), 0);
        group.bench_function(*name, |b| {
            b.iter(|| {
                number += 1;
                check(number);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
