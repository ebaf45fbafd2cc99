//! Current and retired install secrets, what is learnt under them, and fingerprints that are never stored.
//!
//! Never here: the file's form, or a start that is refused.

use super::*;
use crate::domain::audit::{AuditAction, Subject};

/// More keys than one batch takes.
const KEYS: usize = crate::store::BATCH_KEYS_MAX + 10;

impl World {
    fn secret_file(&self) -> std::path::PathBuf {
        self.dir.path().join("secret")
    }

    async fn keys(&self, count: usize) -> Vec<(KeyId, RawKey)> {
        let (workspace, _) = self.workspace("pro").await;
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(self.key(workspace, &[READ]).await);
        }
        keys
    }

    async fn all_pass(&self, keys: &[(KeyId, RawKey)]) {
        for (id, key) in keys {
            assert_eq!(self.ask(key, READ).await, Ok(()), "{id}");
        }
    }

    /// Every batch of this action, by its count.
    async fn batches(&self, action: AuditAction) -> Vec<u32> {
        let rows = self.engine.audit(0, 1_000).await.unwrap();
        let of_action = rows.into_iter().filter(|row| row.entry.action == action);
        let count = |subject| match subject {
            Subject::Keys { count, .. } => count,
            other => panic!("{other:?}"),
        };
        of_action.map(|row| count(row.entry.subject)).collect()
    }
}

fn near_miss(key: &RawKey) -> RawKey {
    // Another secret behind the same prefix, well formed: only a comparison can tell it.
    let letters = || (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').map(char::from);
    let mut text = key.reveal().to_owned();
    text.replace_range(20..21, if &text[20..21] == "a" { "b" } else { "a" });
    let tag = Tag::parse("sk_live_").unwrap();
    for (first, second) in letters().flat_map(|first| letters().map(move |second| (first, second))) {
        text.replace_range(38.., &format!("{first}{second}"));
        if let Some(raw) = RawKey::adopt(&tag, &text) {
            return raw;
        }
    }
    panic!("no check characters fit");
}

#[tokio::test]
async fn after_a_rotation_old_keys_are_proven_and_refused_without_the_slow_hash_and_learnt_anew() {
    let world = World::new();
    let keys = world.keys(3).await;
    world.all_pass(&keys).await;
    let made = world.engine.slow_hashes();
    let before = world.engine.keyring.load().made_by();
    let known = world.engine.rotate_install_secret(Actor::System).await.unwrap();
    assert_eq!(known.retired, [before]);
    assert_eq!(world.engine.keyring.load().made_by(), known.current);
    assert!(world.store.install_secret_names().unwrap().contains(&known.current));
    world.all_pass(&keys).await;
    assert_eq!(world.ask(&near_miss(&keys[0].1), READ).await, Err("unknown"));
    let new = world.keys(1).await;
    assert_eq!(world.engine.slow_hashes(), made + 2, "those of the new workspace's two keys");
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.batches(AuditAction::FingerprintsLearnt).await, [3]);
    // The retired secret is not needed any more.
    let content = std::fs::read(world.secret_file()).unwrap();
    std::fs::write(world.secret_file(), &content[..content.len() / 2]).unwrap();
    let world = world.restarted();
    assert!(world.engine.keyring.load().names().eq([known.current]));
    world.all_pass(&keys).await;
    world.all_pass(&new).await;
    assert_eq!(world.ask(&near_miss(&keys[0].1), READ).await, Err("unknown"));
    assert_eq!(world.engine.slow_hashes(), 0);
}

#[tokio::test]
async fn a_warm_key_passes_right_through_rotations_and_the_ninth_secret_is_refused() {
    let world = World::new();
    let keys = world.keys(1).await;
    for retired in 1..INSTALL_SECRETS_MAX {
        let known = world.engine.rotate_install_secret(Actor::System).await.unwrap();
        assert_eq!(known.retired.len(), retired);
        world.all_pass(&keys).await;
    }
    let before = std::fs::read(world.secret_file()).unwrap();
    let refused = world.engine.rotate_install_secret(Actor::System).await.unwrap_err();
    assert!(matches!(refused, ChangeRefused::InstallSecret(InstallSecretError::Full { .. })), "{refused}");
    assert_eq!(std::fs::read(world.secret_file()).unwrap(), before);
    let rows = world.engine.audit(0, 100).await.unwrap();
    let rotations = rows.iter().filter(|row| row.entry.action == AuditAction::InstallSecretRotated);
    assert!(rotations.clone().all(|row| row.entry.subject == Subject::Installation));
    assert_eq!(rotations.count(), INSTALL_SECRETS_MAX - 1, "one for each that happened");
    world.all_pass(&keys).await;
}

#[tokio::test]
async fn a_rotation_that_the_disk_refuses_changes_nothing_in_memory_and_costs_no_key() {
    let world = World::new();
    let keys = world.keys(1).await;
    world.all_pass(&keys).await;
    let before = world.engine.keyring.load().made_by();
    world.store.close().unwrap();
    let refused = world.engine.rotate_install_secret(Actor::System).await;
    assert!(matches!(refused, Err(ChangeRefused::NotDurable(_))));
    assert_eq!(world.engine.keyring.load().made_by(), before);
    world.all_pass(&keys).await;
    // The file has the new secret, the store does not know it: what a kill between the two leaves.
    let world = world.restarted();
    assert_eq!(world.engine.keyring.load().names().count(), 2);
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes(), 0);
}

#[tokio::test]
async fn what_a_lost_secret_cost_is_learnt_in_batches_and_once() {
    let mut world = World::new();
    let keys = world.keys(KEYS).await;
    std::fs::remove_file(world.secret_file()).unwrap();
    world = world.restarted();
    world.all_pass(&keys).await;
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes(), KEYS as u64);
    world.engine.checkpoint().await.unwrap();
    world.engine.checkpoint().await.unwrap();
    let mut batches = world.batches(AuditAction::FingerprintsLearnt).await;
    batches.sort_unstable();
    assert_eq!(batches, [10, u32::try_from(crate::store::BATCH_KEYS_MAX).unwrap()]);
    // A change behind the batch builds on it, and the live record took both over.
    let patch = KeyPatch { permissions: Some(Vec::new()), ..KeyPatch::default() };
    world.engine.update_key(Actor::System, keys[0].0, patch).await.unwrap();
    assert_eq!(world.ask(&keys[0].1, READ).await, Err("permission"));
    world = world.restarted();
    world.all_pass(&keys[1..]).await;
    assert_eq!(world.engine.slow_hashes(), 0);
}

#[tokio::test]
async fn where_fingerprints_are_kept_in_memory_none_is_stored_and_those_that_were_go() {
    let mut world = World::new();
    let mut keys = world.keys(KEYS).await;
    world = world.restarted_with(false);
    keys.extend(world.keys(1).await);
    // The stored ones serve until they are gone; the new workspace's two keys have none.
    let made = world.engine.slow_hashes();
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes() - made, 1);
    assert_eq!(world.engine.forget_fingerprints().await.unwrap(), KEYS + 1, "and the default key's");
    assert_eq!(world.engine.forget_fingerprints().await.unwrap(), 0);
    assert_eq!(world.batches(AuditAction::FingerprintsForgotten).await.len(), 2);
    world.all_pass(&keys).await;
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.store.walk_fingerprints(None).unwrap().found, [], "nothing is learnt");
    world = world.restarted_with(false);
    world.all_pass(&keys).await;
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes(), keys.len() as u64, "one for each key, then memory knows it");
    for (_, key) in keys.iter().take(2) {
        assert_eq!(world.ask(&near_miss(key), READ).await, Err("unknown"));
    }
    assert_eq!(world.engine.slow_hashes(), keys.len() as u64, "and tells a wrong secret from it");
    // Back to storing them: they are learnt again.
    world = world.restarted_with(true);
    world.all_pass(&keys).await;
    world.engine.checkpoint().await.unwrap();
    world = world.restarted();
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes(), 0);
    assert_eq!(
        world.engine.forget_fingerprints().await.unwrap(),
        0,
        "nothing is removed where they are stored"
    );
}

/// Whoever computed a fingerprint before a rotation must not have it stored under the new secret's name.
#[tokio::test]
async fn proofs_that_race_with_rotations_never_leave_a_fingerprint_that_refuses_its_own_key() {
    let mut world = World::with_cache(0);
    let keys = world.keys(8).await;
    for _ in 1..INSTALL_SECRETS_MAX {
        let before = world.engine.keyring.load().made_by();
        let prove = |text: String| {
            let (engine, profile) = (Arc::clone(&world.engine), Arc::clone(&world.profile));
            // Until the secret changes, so that each has a proof under way at that moment, and none behind it.
            tokio::spawn(async move {
                while engine.keyring.load().made_by() == before {
                    let text = Ok(text.as_bytes());
                    engine.identify(Door::Verify, &profile, &text, None).await.unwrap();
                }
            })
        };
        let proving: Vec<_> = keys.iter().map(|(_, key)| prove(key.reveal().to_owned())).collect();
        tokio::task::yield_now().await;
        world.engine.rotate_install_secret(Actor::System).await.unwrap();
        for task in proving {
            task.await.unwrap();
        }
        world.engine.checkpoint().await.unwrap();
        world.all_pass(&keys).await;
    }
    world.engine.checkpoint().await.unwrap();
    world = world.restarted();
    world.all_pass(&keys).await;
    assert_eq!(world.engine.slow_hashes(), 0);
}

#[tokio::test]
async fn nothing_that_carries_a_secret_shows_it_in_debug_output() {
    let world = World::new();
    let (_, key) = world.keys(1).await.pop().unwrap();
    let attempt = Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(key.reveal().as_bytes()),
        wanted: Wanted::Known(Requirement::default()),
        address: None,
        cost: 1,
    };
    let secrets = InstallSecrets::read(&world.secret_file()).unwrap().unwrap();
    let (keyring, fingerprint) = (secrets.keyring(), secrets.keyring().fingerprint(&key.as_presented()));
    let record = world.store.keys_by_prefix(key.prefix().unwrap()).unwrap().pop().unwrap();
    let shown = format!("{attempt:?} {secrets:?} {keyring:?} {record:?} {key:?} {fingerprint:?}");
    assert!(shown.contains("StoredHash") && shown.contains(&key.prefix().unwrap().to_string()), "{shown}");
    // Bytes show as numbers where somebody derives it; four in a row are no accident.
    let as_numbers = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let secret = std::fs::read(world.secret_file()).unwrap();
    let stored = record.secrets[0].fingerprint.as_ref().unwrap();
    let hidden = [
        key.reveal()[16..38].to_owned(),
        as_numbers(&key.reveal().as_bytes()[16..20]),
        as_numbers(&secret[..4]),
        as_numbers(&stored.fingerprint.as_bytes()[..4]),
        record.secrets[0].hash.as_phc().to_owned(),
        record.secrets[0].hash.as_phc().rsplit('$').next().unwrap().to_owned(),
    ];
    for (place, text) in hidden.iter().enumerate() {
        assert!(!shown.contains(text.as_str()), "number {place} is shown");
    }
}
