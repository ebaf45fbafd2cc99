//! What is remembered of keys that were made elsewhere: their shapes, and in memory what may not be stored.
//!
//! The shapes of each profile stand in memory, replaced as a whole after an import has committed. A key that the
//! slow hash proved once, or whose text an import brought along, is told apart by its fingerprint from then on:
//! held here whether or not it may be stored, so that wrong texts of the same head or prefix cost nothing more,
//! also where fingerprints are kept in memory alone. An imported hash is made anew at the default cost, in the
//! background.
//!
//! Never here: a comparison, an import, or a raw text that outlives its re-hash.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::Engine;
use super::generations::Generations;
use super::live::CachedProof;
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::causes::Causes;
use crate::domain::hash::{SecretId, SlowHashCost, StoredFingerprint};
use crate::domain::id::KeyId;
use crate::domain::key::PresentedKey;
use crate::domain::legacy::LegacyShape;
use crate::domain::record::{KeyRecord, KeySecret};
use crate::store::Urgency;

/// Fingerprints that are held in memory, twice as many at most: some 10 MB.
const FINGERPRINTS_MAX: usize = 50_000;
/// Re-hashes under way: each holds its raw text, and the pool runs few at a time anyway.
const REHASHES_MAX: usize = 16;

/// Imports under way and waiting: each holds its records, 8 MiB as they were sent, and may take minutes.
const IMPORTS_MAX: usize = 4;

/// What is remembered.
pub(super) struct Legacy {
    shapes: ArcSwap<HashMap<String, Arc<[LegacyShape]>>>,
    fingerprints: Generations<(KeyId, u32), StoredFingerprint, RandomState>,
    rehashes: Arc<Semaphore>,
    cost: SlowHashCost,
    /// The places of imports, the one under way among them.
    pub(super) imports: Arc<Semaphore>,
    /// One import at a time, so that shapes are taken over in the order of their commits.
    pub(super) importing: tokio::sync::Mutex<()>,
}

impl Legacy {
    /// Remembers these shapes; `cost` is that of new hashes.
    pub(super) fn new(shapes: Vec<(String, Vec<LegacyShape>)>, cost: SlowHashCost) -> Self {
        let shapes = shapes.into_iter().map(|(profile, all)| (profile, all.into())).collect();
        Self {
            shapes: ArcSwap::from_pointee(shapes),
            fingerprints: Generations::new(FINGERPRINTS_MAX),
            rehashes: Arc::new(Semaphore::new(REHASHES_MAX)),
            cost,
            imports: Arc::new(Semaphore::new(IMPORTS_MAX)),
            importing: tokio::sync::Mutex::default(),
        }
    }

    /// What the imported keys of a profile look like.
    pub(super) fn shapes_of(&self, profile: &str) -> Arc<[LegacyShape]> {
        self.shapes.load().get(profile).map_or_else(|| Arc::new([]), Arc::clone)
    }

    /// Takes over the shapes of some profiles, once they are committed. Whoever calls holds `importing`.
    pub(super) fn take_over(&self, shapes: Vec<(String, Vec<LegacyShape>)>) {
        let mut all = HashMap::clone(&self.shapes.load());
        all.extend(shapes.into_iter().map(|(profile, of_profile)| (profile, of_profile.into())));
        self.shapes.store(Arc::new(all));
    }

    /// Holds the fingerprint of a secret whose text was proven otherwise.
    pub(super) fn know(&self, key: KeyId, epoch: u32, fingerprint: StoredFingerprint) {
        self.fingerprints.insert((key, epoch), fingerprint);
    }

    /// A record that was read, with the fingerprints that are held here in the place of those that are missing or
    /// of an install secret that is gone. For comparing alone: it keeps its version. `None` when there are none.
    pub(super) fn with_fingerprints_in_memory(
        &self,
        record: &KeyRecord,
        is_known: impl Fn(SecretId) -> bool,
    ) -> Option<KeyRecord> {
        let is_mute = |secret: &KeySecret| {
            let stored = secret.fingerprint.as_ref();
            secret.hash.is_slow() && !stored.is_some_and(|stored| is_known(stored.made_by))
        };
        let held = |secret: &KeySecret| {
            let fingerprint =
                is_mute(secret).then(|| self.fingerprints.find(&(record.id, secret.epoch))).flatten();
            fingerprint.map(|fingerprint| (secret.epoch, fingerprint))
        };
        let held: Vec<_> = record.secrets.iter().filter_map(held).collect();
        if held.is_empty() {
            return None;
        }
        let mut record = record.clone();
        for (epoch, fingerprint) in held {
            for secret in record.secrets.iter_mut().filter(|secret| secret.epoch == epoch) {
                secret.fingerprint = Some(fingerprint.clone());
            }
        }
        Some(record)
    }
}

impl Engine {
    /// Remembers what a slow hash proved, for the first of those who waited for it.
    pub(super) fn remember(
        &self,
        record: &KeyRecord,
        proven: &CachedProof,
        presented: &PresentedKey<'_>,
        stored: StoredFingerprint,
    ) {
        let epoch = proven.proof.epoch();
        let Some(secret) = record.secrets.iter().find(|secret| secret.epoch == epoch) else { return };
        if secret.may_store_fingerprint() {
            self.learn(proven, stored.clone());
        }
        self.legacy.know(record.id, epoch, stored);
        if secret.imported.is_some() && !secret.hash.is_default(self.legacy.cost) {
            self.hash_anew(proven, presented);
        }
    }

    /// Hashes a text that was just proven at the default cost, and stores that hash in the place of the one
    /// that it came with. In a task of its own; when it cannot be done now, a proof after the next start tries
    /// again.
    fn hash_anew(&self, proven: &CachedProof, presented: &PresentedKey<'_>) {
        let Ok(turn) = Arc::clone(&self.legacy.rehashes).try_acquire_owned() else { return };
        let (raw, epoch, key) = (presented.to_raw(), proven.proof.epoch(), Arc::clone(&proven.key));
        let (pool, store) = (Arc::clone(&self.slow_hash), self.store.clone());
        let subject = Subject::Key(key.id());
        let audit = self.entry(Actor::System, AuditAction::KeyUpdated, subject);
        tokio::spawn(async move {
            let _turn = turn;
            let Ok(hash) = pool.rehash(raw).await else {
                tracing::debug!(key = %key.id(), "an imported key could not be hashed anew now");
                return;
            };
            let change = move |record: KeyRecord| record.with_hash(epoch, hash);
            match store.update_key(key.id(), Urgency::Admin, audit, change).await {
                Ok(record) => key.apply(&record),
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), key = %key.id(), "a new hash could not be stored");
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::denial::{Denial, Refusal};
    use crate::domain::hash::{StoredHash, sha256};
    use crate::domain::key::{RawKey, Tag};
    use crate::domain::legacy::Alphabet;
    use crate::domain::profile::{Plan, Profile};
    use crate::domain::record::{Label, SignatureReplay};
    use crate::domain::time::Wall;
    use crate::engine::slow_hash::BUSY;
    use crate::engine::{
        ChangeRefused, EngineOptions, ImportContent, ImportMode, ImportRefused, Imported, InstallSecrets,
        NewImport, NewKey, NewWorkspace, SlowHashOptions,
    };
    use crate::store::{Store, StoreOptions};

    fn profile(name: &str) -> Arc<Profile> {
        let plan = Plan {
            name: "free".to_owned(),
            paid: false,
            rate: None,
            workspace_rate: None,
            grace: crate::domain::meter::Grace::default(),
            limits: Vec::new(),
        };
        Arc::new(Profile {
            name: name.to_owned(),
            tag: Tag::parse(&format!("{name}_")).unwrap(),
            catalogue: crate::domain::permission::Catalogue::new(Vec::new()).unwrap(),
            terms: Vec::new(),
            meters: Vec::new(),
            plans: vec![plan],
            rate: None,
            route_rates: Vec::new(),
            signing: None,
            rest: None,
            rpc: None,
        })
    }

    fn shape() -> LegacyShape {
        LegacyShape::new("old_", 30, 30, Alphabet::Base62).unwrap()
    }

    /// A text of that shape.
    fn text(number: usize) -> String {
        format!("old_{number:04}Zq7Lm2Xv9Rt4Bn8Kp3Wd6F")
    }

    /// Two products that take texts of the same look.
    struct World {
        engine: Arc<Engine>,
        one: Arc<Profile>,
        other: Arc<Profile>,
        dir: Arc<tempfile::TempDir>,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            InstallSecrets::create(&dir.path().join("secret")).unwrap();
            Self::open(Arc::new(dir))
        }

        /// Stops and starts again on the same files.
        fn restarted(&self) -> Self {
            self.engine.stop();
            self.engine.store.close().unwrap();
            Self::open(Arc::clone(&self.dir))
        }

        fn open(dir: Arc<tempfile::TempDir>) -> Self {
            let store = Store::open(&dir.path().join("k.redb"), StoreOptions::default()).unwrap();
            let (clock, _) = Clock::manual(Wall::from_secs(1_800_000_000));
            let (one, other) = (profile("one"), profile("other"));
            let secrets = InstallSecrets::read(&dir.path().join("secret")).unwrap().unwrap();
            let slow_hash =
                SlowHashOptions { cost: SlowHashCost::new(8, 1).unwrap(), workers: 1, queue_max: 64 };
            let options = EngineOptions {
                proofs_max: 100,
                replays_max: 100,
                slow_hash,
                keyless_rate: None,
                reads_max: 8,
                stores_fingerprints: true,
            };
            let profiles = [Arc::clone(&one), Arc::clone(&other)];
            let engine = Engine::new(store, clock, profiles, secrets, options).unwrap();
            Self { engine, one, other, dir }
        }

        /// Imports a digest that is vouched for.
        async fn import(&self, profile: &Arc<Profile>, text: &str) -> crate::engine::ImportReport {
            let content = ImportContent::Hash(StoredHash::sha256_whole(sha256(text.as_bytes())));
            self.import_all(profile, vec![content], true).await
        }

        /// Imports texts that are slow-hashed and of which the old system showed nothing but the tag.
        async fn import_texts(
            &self,
            profile: &Arc<Profile>,
            texts: &[String],
        ) -> crate::engine::ImportReport {
            let raw = |text: &String| ImportContent::Text(RawKey::imported(text, &shape()).unwrap());
            self.import_all(profile, texts.iter().map(raw).collect(), false).await
        }

        async fn import_all(
            &self,
            profile: &Arc<Profile>,
            contents: Vec<ImportContent>,
            is_random: bool,
        ) -> crate::engine::ImportReport {
            let new = NewWorkspace {
                name: Label::parse("w").unwrap(),
                profile: profile.name.clone(),
                plan: "free".to_owned(),
                billing_anchor: None,
                brands: Vec::new(),
            };
            let workspace = self.engine.create_workspace(Actor::System, new).await.unwrap().workspace.id;
            let key = NewKey {
                workspace,
                name: None,
                description: None,
                permissions: Vec::new(),
                expires_at: None,
                addresses: None,
                rate: None,
                metadata: None,
                require_signature: false,
                signature_replay: SignatureReplay::Once,
            };
            let new = |content| NewImport {
                key: key.clone(),
                profile: Arc::clone(profile),
                shape: shape(),
                head: "old_".to_owned(),
                content,
                is_random,
            };
            let records = contents.into_iter().map(new).collect();
            self.engine.import(Actor::System, records, ImportMode::Write).await.unwrap()
        }

        async fn proves(&self, profile: &Arc<Profile>, text: &str) -> Result<(), Refusal> {
            self.engine.prove(&Ok(text.as_bytes()), profile, None).await.map(drop)
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            self.engine.stop();
        }
    }

    #[tokio::test]
    async fn a_key_that_was_made_elsewhere_opens_the_doors_of_its_own_profile_alone() {
        let world = World::new();
        let texts = ["old_Zq7Lm2Xv9Rt4Bn8Kp3Wd6Fh5Js", "old_0q7Lm2Xv9Rt4Bn8Kp3Wd6Fh5Js"];
        assert_eq!(world.proves(&world.one, texts[0]).await, Err(Denial::Malformed.into()));
        for (profile, text) in [(&world.one, texts[0]), (&world.other, texts[1])] {
            assert!(matches!(world.import(profile, text).await[..], [Ok(Imported::Taken { .. })]));
        }
        // Cold, and again from the cache.
        for _ in 0..2 {
            assert_eq!(world.proves(&world.one, texts[0]).await, Ok(()));
            assert_eq!(world.proves(&world.other, texts[1]).await, Ok(()));
            assert_eq!(world.proves(&world.other, texts[0]).await, Err(Denial::Unknown.into()));
            assert_eq!(world.proves(&world.one, texts[1]).await, Err(Denial::Unknown.into()));
        }
        assert_eq!(world.proves(&world.one, &texts[0][1..]).await, Err(Denial::Malformed.into()));
        let named = |text: &str| world.engine.profile_of_key(text.as_bytes()).map(|found| found.name.clone());
        assert_eq!(named("other_x"), Some("other".to_owned()), "by its tag");
        assert_eq!(named(texts[0]), Some("one".to_owned()), "by its shape");
        assert_eq!(named("nothing"), None);
    }

    #[tokio::test]
    async fn a_text_that_is_a_key_of_two_products_opens_the_doors_of_both() {
        let world = World::new();
        let texts = [text(1)];
        for profile in [&world.one, &world.other] {
            let report = world.import_texts(profile, &texts).await;
            assert!(matches!(report[..], [Ok(Imported::Taken { .. })]), "{report:?}");
        }
        // Cold, and again from the cache, where either may stand.
        for _ in 0..2 {
            assert_eq!(world.proves(&world.one, &texts[0]).await, Ok(()));
            assert_eq!(world.proves(&world.other, &texts[0]).await, Ok(()));
        }
        assert_eq!(world.proves(&world.other, &text(2)).await, Err(Denial::Unknown.into()));
    }

    #[tokio::test]
    async fn a_text_that_comes_as_itself_and_as_its_digest_is_one_key() {
        let raw = || ImportContent::Text(RawKey::imported(&text(1), &shape()).unwrap());
        let digest = || ImportContent::Hash(StoredHash::sha256_whole(sha256(text(1).as_bytes())));
        let long = || ImportContent::Hash(StoredHash::sha256_long(sha256(&text(1).as_bytes()[4..])));
        for contents in [vec![raw(), digest()], vec![digest(), raw()], vec![long(), raw()]] {
            let world = World::new();
            let report = world.import_all(&world.one, contents, false).await;
            assert!(matches!(report[..], [Ok(_), Err(ImportRefused::AlreadyThere)]), "{report:?}");
            assert_eq!(world.proves(&world.one, &text(1)).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn imports_wait_for_one_another_in_a_bounded_number_and_one_more_is_busy() {
        let world = World::new();
        let turn = world.engine.legacy.importing.lock().await;
        let import = || {
            let engine = Arc::clone(&world.engine);
            tokio::spawn(async move { engine.import(Actor::System, Vec::new(), ImportMode::Write).await })
        };
        let waiting: Vec<_> = (0..IMPORTS_MAX).map(|_| import()).collect();
        while world.engine.legacy.imports.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(import().await.unwrap(), Err(ChangeRefused::Failed(BUSY))));
        drop(turn);
        for waited in waiting {
            assert_eq!(waited.await.unwrap().unwrap(), []);
        }
        assert_eq!(import().await.unwrap().unwrap(), []);
    }

    #[tokio::test]
    async fn batches_that_the_writer_has_at_once_are_judged_by_those_before_them_and_reported_in_order() {
        let world = World::new();
        let contents = (0..350).map(|number| {
            if number % 60 != 0 {
                return ImportContent::Hash(StoredHash::sha256_whole(sha256(text(number).as_bytes())));
            }
            let salt = char::from(b'A' + u8::try_from(number / 60).unwrap());
            let hash = format!(
                "$argon2id$v=19$m=19456,t=2,p=1${salt}wMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A"
            );
            ImportContent::Hash(StoredHash::parse_imported(&hash).unwrap())
        });
        let report = world.import_all(&world.one, contents.collect(), false).await;
        let refused: Vec<_> = (0..350).filter(|place| report[*place].is_err()).collect();
        assert_eq!(refused, [240, 300], "the fifth and sixth slow-hashed key of one head");
        assert!(refused.iter().all(|place| report[*place] == Err(ImportRefused::HeadFull)));
        for number in [1, 101, 299, 349] {
            let Ok(Imported::Taken { id, .. }) = report[number] else { panic!("{:?}", report[number]) };
            let proven = world.engine.prove(&Ok(text(number).as_bytes()), &world.one, None).await.unwrap();
            assert_eq!(proven.proof.key(), id);
        }
    }

    #[tokio::test]
    async fn an_import_runs_no_slow_hash_for_what_it_refuses_and_is_nobodys_failure() {
        let world = World::new();
        let texts: Vec<_> = (0..10).map(text).collect();
        let runs = || world.engine.slow_hashes();
        // Each call makes a workspace, whose own key is one hash.
        let report = world.import_texts(&world.one, &texts).await;
        let taken = report.iter().filter(|result| result.is_ok()).count();
        assert_eq!((taken, runs()), (4, 1 + 4), "{report:?}");
        let report = world.import_texts(&world.one, &texts).await;
        assert!(report.iter().all(Result::is_err), "{report:?}");
        assert_eq!(runs(), 2 + 4, "a second run finds the four in memory");
        for text in &texts[..4] {
            assert_eq!(world.proves(&world.one, text).await, Ok(()));
        }
        assert_eq!(world.proves(&world.one, &texts[4]).await, Err(Denial::Unknown.into()));
        assert_eq!(runs(), 2 + 4);

        // After a restart the file's four are compared with each text; it counts against no caller.
        let world = world.restarted();
        let others: Vec<_> = (10..16).map(text).collect();
        let report = world.import_texts(&world.one, &others).await;
        assert!(report.iter().all(Result::is_err), "{report:?}");
        assert_eq!(world.engine.slow_hash_failures(), 6);
        let unknown = crate::engine::origin(None);
        let counted = world.engine.soft_delay.counted(unknown, world.engine.clock.now().mono);
        assert_eq!(counted, 0);
    }
}
