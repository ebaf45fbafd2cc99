//! The pool by itself: what a flood, a client that hangs up and a run that breaks do to it.
//!
//! A gate stops every run from inside until the test has seen what it came for; nothing here waits for time.
//!
//! Never here: a full-priced hash, or who is asked about (`queue`).

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::domain::hash::Fingerprinter;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Tag;
use crate::domain::record::{KeySecret, SignatureReplay};
use crate::domain::time::Wall;

const WORKERS: usize = 2;

/// Where every run stops until it is opened. Counts who is inside.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    fn before(pool: &SlowHash) -> Arc<Self> {
        let gate = Arc::new(Self::default());
        let passed = Arc::clone(&gate);
        *lock(&pool.shared.inside) = Some(Arc::new(move || passed.pass()));
        gate
    }

    fn pass(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        let mut is_open = lock(&self.is_open);
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
        drop(is_open);
        // Let the others of a crowd be seen, if there is one.
        std::thread::yield_now();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *lock(&self.is_open) = true;
        self.opened.notify_all();
    }

    async fn is_full(&self) {
        until(|| self.inside.load(Ordering::SeqCst) == WORKERS).await;
    }
}

/// Lets the others go on until this is so; half a minute of it never being so is a failure.
async fn until(is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), so).await.expect("what the test waits for never came");
}

fn options() -> SlowHashOptions {
    SlowHashOptions { cost: SlowHashCost::new(8, 1).unwrap(), workers: WORKERS, queue_max: 64 }
}

/// A pool whose every worker is inside a run that does not end before the gate opens.
async fn held_pool() -> (Arc<SlowHash>, Arc<Gate>, JoinSet<()>) {
    let pool = Arc::new(SlowHash::start(options()).unwrap());
    let gate = Gate::before(&pool);
    let mut held = JoinSet::new();
    for _ in 0..WORKERS {
        let pool = Arc::clone(&pool);
        held.spawn(async move { assert!(pool.create(text(0, 0)).await.is_ok()) });
    }
    gate.is_full().await;
    (pool, gate, held)
}

/// One of 62 × 62 texts of each of 62 prefixes.
fn text(prefix: usize, secret: usize) -> RawKey {
    let mut random = [u8::try_from(prefix % 62).unwrap(); 64];
    random[0] = u8::try_from(prefix / 62).unwrap();
    random[8] = u8::try_from(secret / 62).unwrap();
    random[9] = u8::try_from(secret % 62).unwrap();
    RawKey::mint(&Tag::parse("sk_live_").unwrap(), &random).unwrap()
}

/// The record of a key with this text.
fn record_of(raw: &RawKey) -> KeyRecord {
    let mut memory = SlowHashMemory::default();
    let hash = StoredHash::create(&raw.as_presented(), [3; SALT_LEN], options().cost, &mut memory).unwrap();
    let created_at = Wall::from_secs(1_700_000_000);
    let prefix = raw.prefix().unwrap();
    let secret =
        KeySecret { prefix, epoch: 1, hash, fingerprint: None, imported: None, created_at, ends_at: None };
    KeyRecord {
        id: KeyId::from_u128(9),
        version: 1,
        workspace: WorkspaceId::from_u128(7),
        name: None,
        description: None,
        permissions: Vec::new(),
        secrets: vec![secret],
        created_at,
        expires_at: None,
        revoked_at: None,
        addresses: None,
        rate: None,
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    }
}

/// Asks whether `raw` is the key of `record`, from this address.
async fn prove(
    pool: &SlowHash,
    from: [u8; 4],
    raw: RawKey,
    record: &KeyRecord,
) -> Result<Option<KeyId>, Fault> {
    let asker = Asker { origin: IpAddr::from(from), found_by: FoundBy::Prefix(raw.prefix().unwrap()) };
    let fingerprint = Fingerprinter::new(&[1; 32]).fingerprint(&raw.as_presented());
    let flown = pool.prove(Some(asker), fingerprint, raw, vec![record.clone()], || None::<()>).await?;
    Ok(match flown {
        Flown::Proven(proof, _) => Some(proof.key()),
        Flown::Known(()) | Flown::Refuted => None,
    })
}

fn address(number: usize) -> [u8; 4] {
    [10, 0, u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap()]
}

/// Attack C01 and C07.
#[tokio::test]
async fn a_flood_for_one_prefix_is_bounded_and_its_owner_still_gets_in() {
    let (pool, gate, mut held) = held_pool().await;
    let owned = text(1, 0);
    let record = Arc::new(record_of(&owned));
    let mut flood = JoinSet::new();
    for number in 1..=1000 {
        let (pool, record) = (Arc::clone(&pool), Arc::clone(&record));
        flood.spawn(async move { prove(&pool, [10, 0, 0, 1], text(1, number), &record).await });
    }
    until(|| pool.refused() == 1000 - 16).await;
    let mut good = JoinSet::new();
    for (raw, from) in [(owned, [10, 0, 0, 2]), (text(2, 0), [10, 0, 0, 3])] {
        let (pool, record) = (Arc::clone(&pool), record_of(&raw));
        good.spawn(async move { prove(&pool, from, raw, &record).await });
    }
    until(|| pool.refused() == 1000 - 15 && lock(&pool.shared.waiting).queue.len() == 17).await;
    gate.open();
    assert_eq!(good.join_all().await, [Ok(Some(KeyId::from_u128(9))); 2]);
    let said = flood.join_all().await;
    assert_eq!(
        said.iter().filter(|said| **said == Err(BUSY)).count(),
        1000 - 15,
        "one gave way to the owner"
    );
    assert_eq!(said.iter().filter(|said| **said == Ok(None)).count(), 15);
    while held.join_next().await.is_some() {}
    pool.stop();
    assert_eq!(gate.most.load(Ordering::SeqCst), WORKERS);
    assert_eq!(pool.failures(), 15);
    assert!(lock(&pool.shared.flights).is_empty());
}

/// Attack C02.
#[tokio::test]
async fn a_flood_for_many_prefixes_is_bounded_and_leaves_the_places_of_new_keys() {
    let (pool, gate, mut held) = held_pool().await;
    let record = Arc::new(record_of(&text(0, 0)));
    let mut flood = JoinSet::new();
    for number in 0..1000 {
        let (pool, record) = (Arc::clone(&pool), Arc::clone(&record));
        flood.spawn(async move { prove(&pool, address(number), text(number, 1), &record).await });
    }
    until(|| pool.refused() == 1000 - 32).await;
    for number in 0..32 {
        let pool = Arc::clone(&pool);
        held.spawn(async move { assert!(pool.create(text(1, number)).await.is_ok()) });
    }
    gate.open();
    held.join_all().await;
    let said = flood.join_all().await;
    assert_eq!(said.iter().filter(|said| **said == Err(BUSY)).count(), 1000 - 32);
    assert_eq!(said.iter().filter(|said| **said == Ok(None)).count(), 32);
    pool.stop();
    assert_eq!(gate.most.load(Ordering::SeqCst), WORKERS);
}

/// Attack C06.
#[tokio::test]
async fn five_hundred_that_hang_up_free_no_worker_early_and_start_none() {
    let (pool, gate, held) = held_pool().await;
    let record = record_of(&text(0, 0));
    for number in 0..500 {
        let mut asked = pin!(prove(&pool, address(number), text(number, 1), &record));
        let asked_once = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx)));
        let _ = asked_once.await;
    }
    assert_eq!(lock(&pool.shared.waiting).queue.len(), 32, "they have gone and their jobs have not");
    assert_eq!(gate.inside.load(Ordering::SeqCst), WORKERS);
    gate.open();
    held.join_all().await;
    pool.stop();
    assert_eq!(gate.most.load(Ordering::SeqCst), WORKERS);
    assert_eq!(pool.runs(), u64::try_from(WORKERS).unwrap() + 32);
    assert!(lock(&pool.shared.flights).is_empty());
}

/// Attack B11 and D16.
#[tokio::test]
async fn a_run_that_panics_is_a_fault_and_its_worker_goes_on() {
    let pool = SlowHash::start(SlowHashOptions { workers: 1, ..options() }).unwrap();
    let record = record_of(&text(1, 0));
    let breaks =
        |message: &'static str| -> Arc<dyn Fn() + Send + Sync> { Arc::new(move || panic!("{message}")) };
    for _ in 0..3 {
        *lock(&pool.shared.inside) = Some(breaks("injected"));
        assert_eq!(prove(&pool, [10, 0, 0, 1], text(1, 0), &record).await, Err(Fault::Credential));
        assert_eq!(pool.create(text(1, 0)).await.map(drop), Err(Fault::Internal));
        *lock(&pool.shared.inside) = None;
        let proven = prove(&pool, [10, 0, 0, 1], text(1, 0), &record).await;
        assert_eq!(proven, Ok(Some(KeyId::from_u128(9))));
        assert!(pool.create(text(1, 0)).await.is_ok());
    }
    assert!(lock(&pool.shared.flights).is_empty());
    pool.stop();
}

#[tokio::test]
async fn a_better_hash_is_the_default_of_the_same_text_and_a_stopped_pool_makes_none() {
    let pool = SlowHash::start(options()).unwrap();
    let hash = pool.rehash(text(1, 0)).await.unwrap();
    assert!(hash.is_default(options().cost));
    let secret = KeySecret { hash, ..record_of(&text(2, 0)).secrets.remove(0) };
    let secret = KeySecret { prefix: text(1, 0).prefix().unwrap(), ..secret };
    let record = KeyRecord { secrets: vec![secret], ..record_of(&text(2, 0)) };
    assert_eq!(prove(&pool, [10, 0, 0, 1], text(1, 0), &record).await, Ok(Some(record.id)));
    assert_eq!(prove(&pool, [10, 0, 0, 1], text(1, 1), &record).await, Ok(None));
    pool.stop();
    assert_eq!(pool.rehash(text(1, 0)).await, Err(BUSY));
}
