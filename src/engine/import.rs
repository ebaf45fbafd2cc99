//! Importing keys that were made elsewhere.
//!
//! Each record is wholly taken or wholly refused, and the reason is told; the records of one call are written in
//! batches, each one transaction with one audit row. A text that comes raw is kept as a digest where the import
//! vouches that it is random, and slow-hashed else; it is never shown again. A dry run judges alike and writes
//! nothing. What is acknowledged can be presented at once.
//!
//! Never here: how a record was sent (surface), a guess at what a text looks like.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::changes::{ChangeRefused, mint, random, run_to_the_end};
use super::loading::read_failed;
use super::slow_hash::BUSY;
use super::soft_delay::AskedBy;
use super::{Engine, NewKey};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, Subject};
use crate::domain::causes::Causes;
use crate::domain::denial::{Fault, Refusal};
use crate::domain::hash::{HashKind, StoredFingerprint, StoredHash, sha256};
use crate::domain::id::KeyId;
use crate::domain::key::{Prefix, PresentedKey, RawKey};
use crate::domain::legacy::{
    HIDDEN_LENGTH_MIN, Handle, ImportedText, LegacyShape, SHAPES_MAX, SLOW_KEYS_PER_HEAD_MAX, ShapeRefused,
    ShapesRefused,
};
use crate::domain::profile::Profile;
use crate::domain::record::{KeyRecord, KeySecret};
use crate::store::{
    ChangeError, IMPORT_BATCH_MAX, ImportCase, ImportDone, ImportOutcome, ImportedKey, StoreError,
};

/// One key to be imported.
#[derive(Debug)]
pub struct NewImport {
    /// What the key is to be.
    pub key: NewKey,
    /// The profile of its workspace.
    pub profile: Arc<Profile>,
    /// What its text looks like.
    pub shape: LegacyShape,
    /// What its old system showed of it: the start of its text, at least its tag.
    pub head: String,
    /// Its text or its hash.
    pub content: ImportContent,
    /// Whether whoever imports vouches for at least 128 random bits behind the head.
    pub is_random: bool,
}

/// What is known of an imported key's text.
#[derive(Debug)]
pub enum ImportContent {
    /// The text itself.
    Text(RawKey),
    /// Its hash.
    Hash(StoredHash),
}

/// Whether an import writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportMode {
    /// It only says what it would do.
    DryRun,
    /// It does.
    Write,
}

/// A key that was taken, or would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Imported {
    /// It is there now.
    Taken {
        /// Its id.
        id: KeyId,
        /// The prefix that it is shown by: ours, and no part of its text.
        prefix: Prefix,
    },
    /// It would be taken.
    WouldTake,
}

/// Why a record is not taken. The text is what the report says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportRefused {
    /// The same key is there.
    #[error("already there, or earlier in this import")]
    AlreadyThere,
    /// The head is taken by as many slow-hashed keys as may be.
    #[error(
        "prefix: {SLOW_KEYS_PER_HEAD_MAX} slow-hashed keys are found by this prefix already, the most there may be: give a longer prefix if the old system showed one, the raw key with \"random\": true if it is random, or issue a new key"
    )]
    HeadFull,
    /// The profile has as many shapes as it may have.
    #[error(
        "shape: the profile has {SHAPES_MAX} shapes already, the most there may be: use a range of lengths"
    )]
    TooManyShapes,
    /// Texts that look so have heads of another length.
    #[error("prefix: expected {expected} characters, as other imported keys of this shape have")]
    OtherHead {
        /// That length.
        expected: usize,
    },
    /// The head does not fit the shape.
    #[error(transparent)]
    Shape(#[from] ShapeRefused),
    /// The text or the head is not of the shape.
    #[error("shape: the {what} does not look as the shape says (tag, length, alphabet)")]
    Misfit {
        /// Which of them.
        what: &'static str,
    },
    /// The head is nearly the whole text.
    #[error(
        "prefix: at least {HIDDEN_LENGTH_MIN} characters of the shortest key must stand behind it, or behind the tag: it is shown in lists"
    )]
    HidesTooLittle,
    /// The text does not start with its head.
    #[error("prefix: the key does not start with it")]
    OtherStart,
    /// The vouch cannot hold.
    #[error("random: the shape leaves too few characters behind tag and prefix for 128 random bits")]
    NotRandom,
    /// Bcrypt does not read so far.
    #[error("hash: bcrypt tells keys of at most {most} bytes apart, and this shape's are longer")]
    TooLongForHash {
        /// How far it reads.
        most: usize,
    },
    /// The workspace is gone or deleted.
    #[error("workspace_id: there is no such workspace, or it is deleted")]
    NoSuchWorkspace,
    /// We were too busy to hash it.
    #[error("not now: too many slow hashes wait; import this one again")]
    Busy,
    /// The disk refused.
    #[error("not now: it could not be made durable; import this one again")]
    NotDurable,
}

impl From<ImportOutcome> for Option<ImportRefused> {
    fn from(outcome: ImportOutcome) -> Self {
        match outcome {
            ImportOutcome::Taken => None,
            ImportOutcome::AlreadyThere => Some(ImportRefused::AlreadyThere),
            ImportOutcome::HeadFull => Some(ImportRefused::HeadFull),
            ImportOutcome::Shape(ShapesRefused::TooMany) => Some(ImportRefused::TooManyShapes),
            ImportOutcome::Shape(ShapesRefused::OtherHead { head_len }) => {
                Some(ImportRefused::OtherHead { expected: head_len })
            }
            ImportOutcome::NoSuchWorkspace => Some(ImportRefused::NoSuchWorkspace),
        }
    }
}

/// What became of each record, in order.
pub type ImportReport = Vec<Result<Imported, ImportRefused>>;

impl Engine {
    /// Imports records, one call after the other; busy when too many wait. An error is one that nothing was
    /// written under; what befalls a later batch is told in the report.
    pub async fn import(
        self: &Arc<Self>,
        actor: Actor,
        records: Vec<NewImport>,
        mode: ImportMode,
    ) -> Result<ImportReport, ChangeRefused> {
        let engine = Arc::clone(self);
        let place = Arc::clone(&self.legacy.imports).try_acquire_owned();
        let place = place.map_err(|_| ChangeRefused::Failed(BUSY))?;
        run_to_the_end(async move {
            // Its own, so that a caller who hangs up and comes back does not stand in line twice over.
            let _place = place;
            let _turn = engine.legacy.importing.lock().await;
            let mut import = Import { engine: &engine, actor, digests: HashSet::new() };
            match mode {
                ImportMode::DryRun => import.rehearse(&records).await,
                ImportMode::Write => import.write(records).await,
            }
        })
        .await
    }
}

/// Batches that the writer has at once: it writes as many as it may in one transaction.
const BATCHES_MAX: usize = 64;
/// The epoch of a key's first secret.
const FIRST_EPOCH: u32 = 1;

/// A key that is ready to be written.
struct Made {
    key: ImportedKey,
    /// The prefix that it is shown by.
    prefix: Prefix,
    /// The fingerprint of its text, where that came along and is slow-hashed: to be held in memory, as after a
    /// first proof, so that the texts behind it are not compared with this one by the slow hash.
    fingerprint: Option<StoredFingerprint>,
}

/// A batch that the writer has.
struct Begun {
    report: ImportReport,
    /// What is to be held in memory of each key that the batch has.
    fingerprints: Vec<Option<(KeyId, StoredFingerprint)>>,
    written: JoinHandle<Result<ImportDone, ChangeError>>,
}

/// What became of the batches that are done.
struct Done {
    report: ImportReport,
    has_written: bool,
    failure: Option<ChangeRefused>,
}

impl Done {
    /// A batch of so many records was not written.
    fn fail(&mut self, records: usize, error: ChangeRefused) {
        self.failure.get_or_insert(error);
        self.report.extend(std::iter::repeat_n(Err(ImportRefused::NotDurable), records));
    }
}

/// Whether a record brings its text, which is compared with what is there, and may cost a slow hash.
const fn brings_text(new: &NewImport) -> bool {
    matches!(new.content, ImportContent::Text(_))
}

/// One import under way.
struct Import<'a> {
    engine: &'a Engine,
    actor: Actor,
    /// The texts that were met, by their SHA-256: one that comes once as itself and once as its digest would be
    /// two keys, and a revoke of one would leave the other.
    digests: HashSet<[u8; 32]>,
}

impl Import<'_> {
    async fn rehearse(&mut self, records: &[NewImport]) -> Result<ImportReport, ChangeRefused> {
        let foreseen = self.foresee(records).await?;
        Ok(foreseen.into_iter().map(|judged| judged.map(|_| Imported::WouldTake)).collect())
    }

    /// What would become of each record as of the last commit: the shape that it would be found by, or why it is
    /// refused.
    async fn foresee(
        &mut self,
        records: &[NewImport],
    ) -> Result<Vec<Result<LegacyShape, ImportRefused>>, ChangeRefused> {
        let mut foreseen = self.judge_all(records).await;
        let judged = records.iter().zip(&foreseen);
        let cases = judged.filter_map(|(new, judged)| Some(case_of(new, judged.as_ref().ok()?.clone())));
        let cases: Vec<_> = cases.collect();
        let read = self.engine.read(move |store| store.import_rehearsed(&cases)).await;
        let mut outcomes = read.map_err(|error| read_failed(&error))?.into_iter();
        for judged in foreseen.iter_mut().filter(|judged| judged.is_ok()) {
            if let Some(refused) = outcomes.next().and_then(Option::from) {
                *judged = Err(refused);
            }
        }
        Ok(foreseen)
    }

    async fn judge_all(&mut self, records: &[NewImport]) -> Vec<Result<LegacyShape, ImportRefused>> {
        let mut judged = Vec::with_capacity(records.len());
        for new in records {
            judged.push(self.judge(new).await);
        }
        judged
    }

    async fn write(&mut self, records: Vec<NewImport>) -> Result<ImportReport, ChangeRefused> {
        let mut done = Done { report: Vec::with_capacity(records.len()), has_written: false, failure: None };
        let mut under_way = VecDeque::new();
        let mut records = records.into_iter();
        loop {
            let batch: Vec<_> = records.by_ref().take(IMPORT_BATCH_MAX).collect();
            if batch.is_empty() {
                break;
            }
            // A text is judged by all that came before it: none is taken twice, and no hash is run in vain.
            let most = if batch.iter().any(brings_text) { 0 } else { BATCHES_MAX - 1 };
            while under_way.len() > most {
                self.finish(&mut under_way, &mut done).await;
            }
            if done.failure.is_some() {
                done.report.extend(std::iter::repeat_n(Err(ImportRefused::NotDurable), batch.len()));
                continue;
            }
            let length = batch.len();
            match self.begin_batch(batch).await {
                Ok(begun) => under_way.push_back(begun),
                Err(error) => {
                    while !under_way.is_empty() {
                        self.finish(&mut under_way, &mut done).await;
                    }
                    done.fail(length, error);
                }
            }
        }
        while !under_way.is_empty() {
            self.finish(&mut under_way, &mut done).await;
        }
        match done.failure {
            Some(error) if !done.has_written => return Err(error),
            Some(error) => {
                tracing::error!(error = %Causes(&error), "an import broke off between two batches");
            }
            None => {}
        }
        Ok(done.report)
    }

    /// Judges and makes the records of a batch, and has the writer take them.
    async fn begin_batch(&mut self, batch: Vec<NewImport>) -> Result<Begun, ChangeRefused> {
        let mut report = Vec::with_capacity(batch.len());
        let mut keys = Vec::with_capacity(batch.len());
        let mut fingerprints = Vec::with_capacity(batch.len());
        // With texts the file is asked first; the writer judges all of it again.
        let foreseen = if batch.iter().any(brings_text) {
            self.foresee(&batch).await?
        } else {
            self.judge_all(&batch).await
        };
        for (new, foreseen) in batch.into_iter().zip(foreseen) {
            let made = match foreseen {
                Ok(shape) => self.made(new, shape).await?,
                Err(refused) => Err(refused),
            };
            report.push(made.map(|Made { key, prefix, fingerprint }| {
                let id = key.record.id;
                fingerprints.push(fingerprint.map(|fingerprint| (id, fingerprint)));
                keys.push(key);
                Imported::Taken { id, prefix }
            }));
        }
        let subject = Subject::Keys { count: 0, root: [0; 32] };
        let entry = self.engine.entry(self.actor, AuditAction::KeysImported, subject);
        let audit = move |count, root| AuditEntry { subject: Subject::Keys { count, root }, ..entry };
        let store = self.engine.store.clone();
        // A task, so that it is queued at once, behind the batches before it.
        let (queued, is_queued) = oneshot::channel();
        let written = tokio::spawn(async move {
            let mut written = pin!(store.import(keys, audit));
            let first = poll_fn(|context| Poll::Ready(written.as_mut().poll(context))).await;
            let _ = queued.send(());
            match first {
                Poll::Ready(done) => done,
                Poll::Pending => written.await,
            }
        });
        let _ = is_queued.await;
        Ok(Begun { report, fingerprints, written })
    }

    /// Waits for the oldest batch and reports it.
    async fn finish(&mut self, under_way: &mut VecDeque<Begun>, done: &mut Done) {
        let Some(Begun { mut report, fingerprints, written }) = under_way.pop_front() else { return };
        let written = written.await.unwrap_or_else(|_| Err(StoreError::BrokeOff.into()));
        let ImportDone { outcomes, shapes } = match written {
            Ok(written) => written,
            Err(error) => return done.fail(report.len(), error.into()),
        };
        done.has_written |= outcomes.contains(&ImportOutcome::Taken);
        self.engine.legacy.take_over(shapes);
        for (fingerprint, outcome) in fingerprints.into_iter().zip(&outcomes) {
            if let (Some((id, fingerprint)), ImportOutcome::Taken) = (fingerprint, outcome) {
                self.engine.legacy.know(id, FIRST_EPOCH, fingerprint);
            }
        }
        let mut outcomes = outcomes.into_iter();
        for taken in report.iter_mut().filter(|taken| taken.is_ok()) {
            if let Some(refused) = outcomes.next().and_then(Option::from) {
                *taken = Err(refused);
            }
        }
        done.report.extend(report);
    }

    /// Checks everything about a record that can be known without the store's newest state, and whether its
    /// text is a key already. Gives the shape that it is found by.
    async fn judge(&mut self, new: &NewImport) -> Result<LegacyShape, ImportRefused> {
        let (length_min, _) = new.shape.lengths();
        if !new.shape.fits_head(&new.head) {
            return Err(ImportRefused::Misfit { what: "prefix" });
        }
        if !new.shape.hides_enough(&new.head) {
            return Err(ImportRefused::HidesTooLittle);
        }
        let (length, needs_head) = match &new.content {
            ImportContent::Text(raw) => {
                let text = raw.as_presented().text();
                if !new.shape.fits(text) {
                    return Err(ImportRefused::Misfit { what: "key" });
                }
                if !text.starts_with(new.head.as_bytes()) {
                    return Err(ImportRefused::OtherStart);
                }
                (text.len(), !new.is_random)
            }
            ImportContent::Hash(hash) => {
                if let Some(most) = hash.text_bytes_max().filter(|most| length_min > *most) {
                    return Err(ImportRefused::TooLongForHash { most });
                }
                (length_min, hash.kind() != HashKind::Sha256)
            }
        };
        if new.is_random && !new.shape.can_be_random(length, new.head.len()) {
            return Err(ImportRefused::NotRandom);
        }
        let shape = new.shape.clone();
        let shape = if needs_head { shape.with_head(new.head.len())? } else { shape };
        match &new.content {
            ImportContent::Text(raw) => self.is_new(raw, &new.profile, &shape).await?,
            ImportContent::Hash(hash)
                if hash.digest().is_some_and(|digest| !self.digests.insert(*digest)) =>
            {
                return Err(ImportRefused::AlreadyThere);
            }
            ImportContent::Hash(_) => {}
        }
        Ok(shape)
    }

    /// Whether a raw text is no key yet: nobody has it, and it did not come earlier in this import. What must
    /// be slow-hashed to know is.
    async fn is_new(
        &mut self,
        raw: &RawKey,
        profile: &Arc<Profile>,
        shape: &LegacyShape,
    ) -> Result<(), ImportRefused> {
        let text = raw.as_presented().text();
        // The profile's own shapes first: a key that is there is found as they say.
        let known = self.engine.legacy.shapes_of(&profile.name);
        let shapes: Vec<_> = known.iter().chain([shape]).cloned().collect();
        let own = PresentedKey::parse(&profile.tag, text).map(|own| own.or_legacy(&shapes));
        let presented = own.unwrap_or(raw.as_presented());
        let long = text.get(shape.head_len().unwrap_or_default()..).unwrap_or_default();
        if self.digests.contains(&sha256(long)) || !self.digests.insert(sha256(text)) {
            return Err(ImportRefused::AlreadyThere);
        }
        match self.engine.prove_from_file(profile, &presented, &shapes, AskedBy::Import).await {
            Ok(_) => Err(ImportRefused::AlreadyThere),
            Err(Refusal::Denied(_)) => Ok(()),
            Err(Refusal::Failed(_)) => Err(ImportRefused::Busy),
        }
    }

    /// Makes the record of a key that stands up to every check.
    async fn made(
        &self,
        new: NewImport,
        shape: LegacyShape,
    ) -> Result<Result<Made, ImportRefused>, ChangeRefused> {
        let (hash, fingerprint) = match new.content {
            ImportContent::Hash(hash) => (hash, None),
            ImportContent::Text(raw) if new.is_random => {
                (StoredHash::sha256_whole(sha256(raw.as_presented().text())), None)
            }
            ImportContent::Text(raw) => match self.engine.slow_hash.create(raw).await {
                Ok((raw, hash)) => {
                    let keyring = self.engine.keyring.load();
                    (hash, Some(keyring.stored(keyring.fingerprint(&raw.as_presented()))))
                }
                Err(_) => return Ok(Err(ImportRefused::Busy)),
            },
        };
        let failed = ChangeRefused::Failed(Fault::Internal);
        // A prefix of our own to show, drawn like every other; no text has it.
        let Some(prefix) = mint(&new.profile.tag).and_then(|drawn| drawn.prefix()) else {
            return Err(failed);
        };
        let now = self.engine.clock.now().wall;
        let imported = ImportedText {
            profile: new.profile.name.as_str().into(),
            head: new.head.into(),
            is_random: new.is_random,
        };
        let secret = KeySecret {
            prefix,
            epoch: FIRST_EPOCH,
            hash,
            fingerprint: None,
            imported: Some(imported),
            created_at: now,
            ends_at: None,
        };
        let record = KeyRecord {
            id: KeyId::new(now.millis_since_epoch(), random()?),
            version: 1,
            workspace: new.key.workspace,
            name: new.key.name,
            description: new.key.description,
            permissions: new.key.permissions,
            secrets: vec![secret],
            created_at: now,
            expires_at: new.key.expires_at,
            revoked_at: None,
            addresses: new.key.addresses,
            rate: new.key.rate,
            metadata: new.key.metadata,
            require_signature: new.key.require_signature,
            signature_replay: new.key.signature_replay,
        };
        Ok(Ok(Made { key: ImportedKey { record, shape }, prefix, fingerprint }))
    }
}

/// What a dry run must know of a record: what its own would say, without the slow hash of a raw text.
fn case_of(new: &NewImport, shape: LegacyShape) -> ImportCase {
    let head = || Handle::Head { profile: new.profile.name.as_str().into(), text: new.head.as_str().into() };
    let (handle, hash) = match &new.content {
        ImportContent::Text(raw) if new.is_random => {
            let hash = StoredHash::sha256_whole(sha256(raw.as_presented().text()));
            (hash.digest().copied().map_or_else(head, Handle::Digest), Some(hash))
        }
        ImportContent::Text(_) => (head(), None),
        ImportContent::Hash(hash) => {
            (hash.digest().copied().map_or_else(head, Handle::Digest), Some(hash.clone()))
        }
    };
    ImportCase {
        workspace: new.key.workspace,
        is_slow: matches!(handle, Handle::Head { .. }),
        handles: vec![handle],
        hash: hash.map(|hash| hash.as_phc().into()),
        shape,
    }
}
