//! The single checks of a request, each as something that can be done again and again: benches time them and count
//! their instructions.
//!
//! Never here: a figure.

use std::hint::black_box;
use std::sync::Arc;

use keyward::domain::decision::{Grant, Wanted};
use keyward::domain::meter::PeriodMeter;
use keyward::domain::meter::ledger::{Ledger, MeterTerms};
use keyward::domain::period::Period;
use keyward::domain::permission::{Catalogue, Permission};
use keyward::domain::rate::bucket::Bucket;
use keyward::domain::rate::windows::Windows;
use keyward::domain::rate::{Rate, Rates};
use keyward::domain::tether::Tether;
use keyward::domain::time::{Mono, Wall};
use keyward::engine::{Attempt, Door};
use keyward::surface::rpc::message::RpcMessage;

use super::World;

/// A check, which is made with whatever it needs and then done, for its n-th time.
pub(crate) type Check = Box<dyn FnMut(u64)>;

/// How a check is made, by its name.
pub(crate) type Made = (&'static str, fn() -> Check);

pub(crate) const CHECKS: &[Made] = &[
    ("blake3_keyed_40_bytes", blake3_keyed),
    ("bucket", bucket),
    ("two_windows", two_windows),
    ("permission", permission),
    ("meter", meter),
    ("tether", tether),
    ("rpc_message_of_300_bytes", rpc_message),
];

fn blake3_keyed() -> Check {
    let (key, text) = ([7; 32], [b'k'; 40]);
    Box::new(move |_| {
        black_box(blake3::keyed_hash(black_box(&key), black_box(&text)));
    })
}

fn bucket() -> Check {
    let (rate, bucket) = (Rate::new(1_000_000, 1, None).unwrap(), Bucket::default());
    Box::new(move |number| drop(black_box(bucket.take(&rate, 1, Mono::from_nanos(number * 1_000))).unwrap()))
}

fn two_windows() -> Check {
    let rate = |window_secs| Rate::new(1_000_000 * u64::from(window_secs), window_secs, None).unwrap();
    let rates = Rates::new(vec![rate(1), rate(60)]).unwrap();
    let mut windows = Windows::of(&Bucket::default()).unwrap();
    Box::new(move |number| {
        drop(black_box(windows.take(&rates, 1, Mono::from_nanos(number * 1_000))).unwrap());
    })
}

fn permission() -> Check {
    let parse = |text: &str| Permission::parse(text).unwrap();
    let catalogue = Catalogue::new(vec![parse("posts:read"), parse("posts:write")]).unwrap();
    let (held, asked) = (catalogue.compile(&[parse("posts:read")]), catalogue.number(&parse("posts:read")));
    Box::new(move |_| assert!(black_box(&held).holds(black_box(asked.unwrap()))))
}

fn meter() -> Check {
    let now = Wall::from_secs(1_800_000_000);
    let terms = MeterTerms { limit: None, admitted: None };
    let mut ledger = Ledger::new(Period::containing(Wall::from_secs(0), now), terms);
    ledger.open(None);
    let mut renew = move || -> PeriodMeter {
        let _row = ledger.draw_up(0, now);
        let free = ledger.settle(true);
        ledger.fill(free);
        ledger.meter()
    };
    let mut meter = renew();
    Box::new(move |_| {
        if meter.is_low() {
            meter = renew();
        }
        // What is given back by dropping it counts as well: the grant's own way of selling is shorter.
        drop(black_box(meter.sell(1)).unwrap());
    })
}

fn tether() -> Check {
    let world = World::with_rate(1, &Rate::new(1_000, 1, None).unwrap().into());
    let wanted = world.profile.requirement(&Permission::parse("posts:read").unwrap()).unwrap();
    let attempt = Attempt {
        door: Door::Verify,
        profile: &Arc::clone(&world.profile),
        credential: Ok(world.keys[0].reveal().as_bytes()),
        wanted: Wanted::Known(wanted),
        address: None,
        cost: 1,
    };
    let granted = world.runtime.block_on(world.engine.verify(attempt)).unwrap();
    let (_, tether): (Grant, Tether) = granted.into_parts();
    Box::new(move |_| {
        let _stays = &world;
        black_box(tether.check()).unwrap();
    })
}

fn rpc_message() -> Check {
    let argument = "a".repeat(160);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"list_posts","arguments":{{"text":"{argument}","limit":10}},"_meta":{{"progressToken":"t-1"}}}}}}"#
    );
    Box::new(move |_| drop(black_box(RpcMessage::parse(black_box(body.as_bytes()))).unwrap()))
}
