//! A world of very many keys, made through the store's batches in seconds rather than by one call a key.
//!
//! The file is made once for each count and kept under `target/`; a world works on a copy of it. Texts are drawn from a
//! fixed stream, so that they need not be kept: these keys are good for nothing but benches. Each has a stored
//! fingerprint and a hash of full length, so a row is as long as a real one; no slow hash was run for it.
//!
//! Never here: a figure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyward::domain::audit::{Actor, AuditAction, AuditEntry, Subject};
use keyward::domain::hash::{Fingerprinter, StoredFingerprint, StoredHash};
use keyward::domain::id::{KeyId, WorkspaceId};
use keyward::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};
use keyward::domain::legacy::{Alphabet, LegacyShape};
use keyward::domain::permission::Permission;
use keyward::domain::rate::Rate;
use keyward::domain::record::{
    KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord, WorkspaceStatus,
};
use keyward::domain::time::Wall;
use keyward::engine::InstallSecrets;
use keyward::store::{IMPORT_BATCH_MAX, ImportedKey, Store};

use super::{SECRET_FILE, STORE_FILE, World, engine, open_store, profile};

/// Keys of one workspace.
pub(crate) const KEYS_PER_WORKSPACE: usize = 100;
/// Changed with what the file holds, so that an older one is not taken.
const EDITION: &str = "2";
/// Batches, and workspaces, that wait for the writer at once.
const BATCHES: usize = 512;
const WORKSPACES: usize = 2_048;
/// More than there are workspaces.
const LATER: usize = 1 << 24;
/// When everything was made.
const MADE_AT: i64 = 1_790_000_000;

impl World {
    /// A world of `count` keys of the one tag in [`KEYS_PER_WORKSPACE`]s, after a clean stop and a start, with room for a
    /// proof of each. Making a million takes a minute the first time and seconds from then on.
    pub(crate) fn imported(count: usize) -> Self {
        Self::imported_with(count, 2 * count)
    }

    /// The same with a proof cache of this size.
    pub(crate) fn imported_with(count: usize, proofs_max: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let profile = profile();
        let dir = copied(&profile.tag, count);
        let store = open_store(&dir);
        let secret = InstallSecrets::read(&dir.path().join(SECRET_FILE)).unwrap().unwrap();
        let engine = engine(&store, &profile, secret, proofs_max);
        let keys = (0..count).map(|number| raw_key(&profile.tag, number)).collect();
        Self { runtime, engine, store, profile, keys, dir }
    }
}

/// A copy of the kept files of `count` keys, in the form of a data directory.
pub(crate) fn copied(tag: &Tag, count: usize) -> tempfile::TempDir {
    let kept = kept_files(tag, count);
    // On the same disk as the kept ones, and gone with the world.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // A data directory is its owner's alone.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    // Its holes stay holes: what a file takes of the disk is asked.
    let mut copy = Command::new("cp");
    copy.args(["--sparse=always", "--preserve=mode"])
        .args([STORE_FILE, SECRET_FILE].map(|name| kept.join(name)));
    assert!(copy.arg(dir.path()).status().unwrap().success());
    dir
}

fn kept_files(tag: &Tag, count: usize) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("keys-{EDITION}-{count}"));
    if !kept.exists() {
        let draft = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        make(draft.path(), tag, count);
        // Whole or not at all; a bench that runs beside this one may have been first.
        let draft = draft.keep();
        if fs::rename(&draft, &kept).is_err() {
            fs::remove_dir_all(&draft).unwrap();
        }
    }
    kept
}

/// In the order of ids, as keys are made in the course of time.
fn make(dir: &Path, tag: &Tag, count: usize) {
    // On one thread tasks begin in the order in which they are spawned.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let secret = InstallSecrets::create(&dir.join(SECRET_FILE)).unwrap();
    let store = Store::open(&dir.join(STORE_FILE), keyward::store::StoreOptions::default()).unwrap();
    secret.seal(&store);
    let fingerprinter = secret.current().fingerprinter();
    let numbers: Vec<_> = (0..count).collect();
    runtime.block_on(async {
        // The first key of each workspace is its default key.
        let first: Vec<_> = numbers.iter().copied().step_by(KEYS_PER_WORKSPACE).collect();
        for round in first.chunks(WORKSPACES) {
            let made = round.iter().map(|number| {
                let (store, key) = (store.clone(), record(&fingerprinter, tag, *number));
                let audit = entry(AuditAction::WorkspaceCreated, Subject::Workspace(key.workspace));
                tokio::spawn(
                    async move { store.create_workspace(workspace(key.workspace), key, audit).await },
                )
            });
            for made in made.collect::<Vec<_>>() {
                made.await.unwrap().unwrap();
            }
        }
        let others: Vec<_> = numbers.into_iter().filter(|number| number % KEYS_PER_WORKSPACE != 0).collect();
        for round in others.chunks(BATCHES * IMPORT_BATCH_MAX) {
            let batches = round.chunks(IMPORT_BATCH_MAX).map(|batch| {
                let batch: Vec<_> =
                    batch.iter().map(|number| imported(record(&fingerprinter, tag, *number))).collect();
                let store = store.clone();
                tokio::spawn(async move { store.import(batch, batch_entry).await })
            });
            for batch in batches.collect::<Vec<_>>() {
                batch.await.unwrap().unwrap();
            }
        }
    });
    store.close().unwrap();
}

/// The text of a key.
pub(crate) fn raw_key(tag: &Tag, number: usize) -> RawKey {
    let mut stream = blake3::Hasher::new_keyed(&[7; 32]).update(&number.to_le_bytes()).finalize_xof();
    loop {
        let mut drawn = [0; MINT_RANDOM_BYTES];
        stream.fill(&mut drawn);
        if let Some(raw) = RawKey::mint(tag, &drawn) {
            return raw;
        }
    }
}

/// The id of a key.
pub(crate) fn key_id(number: usize) -> KeyId {
    let random = blake3::hash(&number.to_le_bytes());
    // Default keys come first.
    let is_default = number.is_multiple_of(KEYS_PER_WORKSPACE);
    let place = if is_default { number / KEYS_PER_WORKSPACE } else { LATER + number };
    KeyId::new(millis(place), *random.as_bytes().first_chunk().unwrap())
}

fn workspace_id(number: usize) -> WorkspaceId {
    let random = blake3::hash(&(number / KEYS_PER_WORKSPACE).to_le_bytes());
    WorkspaceId::new(millis(number / KEYS_PER_WORKSPACE), *random.as_bytes().first_chunk().unwrap())
}

fn millis(number: usize) -> u64 {
    u64::try_from(MADE_AT).unwrap() * 1_000 + u64::try_from(number).unwrap()
}

fn workspace(id: WorkspaceId) -> WorkspaceRecord {
    WorkspaceRecord {
        id,
        version: 1,
        name: Label::parse("bench").unwrap(),
        profile: "socialcrm".to_owned(),
        plan: "enterprise".to_owned(),
        billing_anchor: Wall::from_secs(MADE_AT),
        brands: Vec::new(),
        status: WorkspaceStatus::Active,
        overrides: Overrides::default(),
        created_at: Wall::from_secs(MADE_AT),
    }
}

/// A key that may do everything, as fast as a key can be.
fn record(fingerprinter: &Fingerprinter, tag: &Tag, number: usize) -> KeyRecord {
    let raw = raw_key(tag, number);
    let fingerprint = fingerprinter.fingerprint(&raw.as_presented());
    // As long as a real one; what it says is never asked, since the fingerprint is.
    let hash =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";
    let secret = KeySecret {
        prefix: raw.prefix().unwrap(),
        epoch: 1,
        hash: StoredHash::parse(hash).unwrap(),
        fingerprint: Some(StoredFingerprint { made_by: fingerprinter.made_by(), fingerprint }),
        imported: None,
        created_at: Wall::from_secs(MADE_AT),
        ends_at: None,
    };
    KeyRecord {
        id: key_id(number),
        version: 1,
        workspace: workspace_id(number),
        name: None,
        description: None,
        permissions: vec![Permission::everything()],
        secrets: vec![secret],
        created_at: Wall::from_secs(MADE_AT),
        expires_at: None,
        revoked_at: None,
        addresses: None,
        rate: Some(Rate::new(1_000_000, 1, None).unwrap().into()),
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    }
}

/// For the store's batches, which want to be told a shape; no text of ours has it.
fn imported(record: KeyRecord) -> ImportedKey {
    ImportedKey { record, shape: LegacyShape::new("no_bench_key_", 20, 20, Alphabet::Hex).unwrap() }
}

fn batch_entry(count: u32, root: [u8; 32]) -> AuditEntry {
    entry(AuditAction::KeysImported, Subject::Keys { count, root })
}

fn entry(action: AuditAction, subject: Subject) -> AuditEntry {
    AuditEntry { at: Wall::from_secs(MADE_AT), actor: Actor::System, action, subject, changes: Vec::new() }
}
