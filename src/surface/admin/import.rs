//! Importing keys that were made elsewhere: one call, a list of records, a report on each.
//!
//! What is wrong with a record refuses that record and no other; what is wrong with the call refuses all of it.
//! A reason names the field and never repeats a key or a hash.
//!
//! Never here: a raw key or a hash in an answer, or a key for the workspace of the admin keys.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::spoken::json as answer;
use super::intake::{self, Fields, refused};
use super::keys::{KEY_FIELDS, new_key};
use super::{Answered, Call, CallRefusal};
use crate::dialect::AdminRefusal;
use crate::domain::hash::{StoredHash, read_sha256};
use crate::domain::id::WorkspaceId;
use crate::domain::key::RawKey;
use crate::domain::legacy::{Alphabet, LEGACY_LENGTH_MAX, LegacyShape};
use crate::domain::profile::{Profile, SYSTEM_PROFILE};
use crate::domain::time::Wall;
use crate::engine::{ChangeRefused, ImportContent, ImportMode, ImportRefused, Imported, NewImport};

/// The most records of one call.
const RECORDS_MAX: usize = 10_000;

const CALL_FIELDS: [&str; 4] = ["workspace_id", "dry_run", "shape", "keys"];
/// The fields of a shape.
pub const SHAPE_FIELDS: [&str; 6] = ["tag", "length", "length_min", "length_max", "alphabet", "head_length"];
/// What a record tells besides the fields of the key that it becomes.
const RECORD_FIELDS: [&str; 8] =
    ["key", "hash", "sha256", "over", "prefix", "random", "shape", "workspace_id"];

/// Every field that a record may have.
pub fn record_fields() -> Vec<&'static str> {
    [RECORD_FIELDS.as_slice(), &KEY_FIELDS].concat()
}

pub(super) async fn import(call: Call<'_>) -> Answered {
    let fields = Fields::read(call.body, &CALL_FIELDS)?;
    let mode = match fields.optional("dry_run", intake::flag)? {
        Some(true) => ImportMode::DryRun,
        Some(false) | None => ImportMode::Write,
    };
    let workspace = fields.optional("workspace_id", intake::workspace_id)?;
    let shape = fields.optional("shape", told_shape)?;
    let records = fields.required("keys", records)?;
    let now = call.engine.clock().now().wall;
    let mut reader =
        Reader { call: &call, workspace, shape, homes: HashMap::new(), known: record_fields(), now };
    let mut results: Vec<Option<Result<Imported, String>>> = Vec::with_capacity(records.len());
    let mut readable = Vec::new();
    for raw in records {
        results.push(match reader.record(raw).await {
            Ok(new) => {
                readable.push(new);
                None
            }
            Err(CallRefusal::Admin(AdminRefusal::Field { detail })) => Some(Err(detail)),
            Err(other) => return Err(other),
        });
    }
    let mut imported = call.engine.import(call.actor(), readable, mode).await?.into_iter();
    let results: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            Some(result) => result,
            // The engine answers for each that it was given.
            None => imported.next().unwrap_or(Err(ImportRefused::NotDurable)).map_err(|why| why.to_string()),
        })
        .collect();
    let taken = results.iter().filter(|result| result.is_ok()).count();
    let body = json!({
        "dry_run": mode == ImportMode::DryRun,
        "taken": taken,
        "refused": results.len() - taken,
        "results": results.iter().enumerate().map(shown).collect::<Vec<_>>(),
    });
    Ok(answer(StatusCode::OK, &body))
}

fn shown((index, result): (usize, &Result<Imported, String>)) -> Value {
    match result {
        Ok(Imported::Taken { id, prefix }) => {
            json!({"index": index, "status": "taken", "id": id.to_string(), "prefix": prefix.to_string()})
        }
        Ok(Imported::WouldTake) => json!({"index": index, "status": "would_take"}),
        Err(why) => json!({"index": index, "status": "refused", "why": why}),
    }
}

/// A shape as it is told, and how much of each text its old system showed.
#[derive(Clone)]
struct ToldShape {
    shape: LegacyShape,
    head_length: Option<usize>,
}

/// Reads records of one call.
struct Reader<'a, 'b> {
    call: &'a Call<'b>,
    workspace: Option<WorkspaceId>,
    shape: Option<ToldShape>,
    /// The profiles of the workspaces met; `None` for one that takes no imports.
    homes: HashMap<WorkspaceId, Option<Arc<Profile>>>,
    /// The fields of a record.
    known: Vec<&'static str>,
    now: Wall,
}

impl Reader<'_, '_> {
    async fn record(&mut self, raw: &RawValue) -> Result<NewImport, CallRefusal> {
        let fields = Fields::read(raw.get().as_bytes(), &self.known).map_err(unquoted)?;
        let workspace = fields.optional("workspace_id", intake::workspace_id)?.or(self.workspace);
        let workspace = workspace.ok_or_else(|| refused("workspace_id", "one, here or beside `keys`"))?;
        let profile = self.home(workspace).await?;
        let told = fields.optional("shape", told_shape)?.or_else(|| self.shape.clone());
        let told = told.ok_or_else(|| refused("shape", "one, here or beside `keys`"))?;
        let prefix = fields.optional("prefix", intake::text)?;
        let is_random = fields.optional("random", intake::flag)?.unwrap_or(false);
        let (content, head) = content(&fields, &told, prefix)?;
        let key = new_key(&fields, workspace, &profile, self.now)?;
        Ok(NewImport { key, profile, shape: told.shape, head, content, is_random })
    }

    /// The profile of a workspace that takes imports.
    async fn home(&mut self, workspace: WorkspaceId) -> Result<Arc<Profile>, CallRefusal> {
        let expected = "the id of a workspace that is there; admin keys are made here and not imported";
        let home = if let Some(home) = self.homes.get(&workspace) {
            home.clone()
        } else {
            let home = match self.call.engine.workspace(workspace).await {
                Ok(record) => self.call.engine.profile(&record.profile).map(Arc::clone),
                Err(ChangeRefused::NoSuchWorkspace) => None,
                Err(error) => return Err(error.into()),
            };
            let home = home.filter(|profile| profile.name != SYSTEM_PROFILE);
            self.homes.insert(workspace, home.clone());
            home
        };
        home.ok_or_else(|| refused("workspace_id", expected).into())
    }
}

/// What is known of the text, and its head.
fn content(
    fields: &Fields<'_>,
    told: &ToldShape,
    prefix: Option<String>,
) -> Result<(ImportContent, String), AdminRefusal> {
    let secret = |field: &str, raw: &RawValue| intake::text(field, raw).map(Zeroizing::new);
    let key = fields.optional("key", secret)?;
    let hash = fields.optional("hash", secret)?;
    let sha256 = fields.optional("sha256", secret)?;
    let over = fields.optional("over", over)?;
    if over.is_some() && sha256.is_none() {
        return Err(refused("over", "to stand beside `sha256` alone"));
    }
    if let (Some(prefix), Some(length)) = (&prefix, told.head_length)
        && prefix.len() != length
    {
        return Err(refused("prefix", format!("{length} characters, as the shape's head_length says")));
    }
    match (key, hash, sha256) {
        (Some(key), None, None) => {
            let raw = RawKey::imported(&key, &told.shape);
            let raw = raw.ok_or_else(|| misfit(ImportRefused::Misfit { what: "key" }))?;
            let shown = told.head_length.and_then(|length| key.get(..length)).map(str::to_owned);
            let head = prefix.or(shown).unwrap_or_else(|| told.shape.tag().to_owned());
            Ok((ImportContent::Text(raw), head))
        }
        (None, Some(hash), None) => {
            let hash = StoredHash::parse_imported(&hash)
                .map_err(|why| AdminRefusal::Field { detail: format!("hash: {why}") })?;
            Ok((ImportContent::Hash(hash), shown_head(told, prefix)?))
        }
        (None, None, Some(digest)) => {
            let expected = "32 bytes as 64 hexadecimal digits, base64 or base64url";
            let digest = read_sha256(&digest).ok_or_else(|| refused("sha256", expected))?;
            if over != Some(Over::LongPart) {
                let head = shown_head(told, prefix)?;
                return Ok((ImportContent::Hash(StoredHash::sha256_whole(digest)), head));
            }
            let expected =
                "all that stands before the long part, its separator too, such as \"acme_4f2a9c_\"";
            let head = prefix.filter(|head| head.ends_with(|last: char| !last.is_ascii_alphanumeric()));
            let head = head.ok_or_else(|| refused("prefix", expected))?;
            Ok((ImportContent::Hash(StoredHash::sha256_long(digest)), head))
        }
        _ => Err(refused("key", "exactly one of `key`, `hash` and `sha256`")),
    }
}

/// The head of a text that did not come along.
fn shown_head(told: &ToldShape, prefix: Option<String>) -> Result<String, AdminRefusal> {
    match (prefix, told.head_length) {
        (Some(prefix), _) => Ok(prefix),
        (None, Some(length)) if length > told.shape.tag().len() => Err(refused(
            "prefix",
            format!("the first {length} characters of the key, as the old system showed them"),
        )),
        (None, _) => Ok(told.shape.tag().to_owned()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Whole,
    LongPart,
}

fn over(field: &str, raw: &RawValue) -> Result<Over, AdminRefusal> {
    match intake::text(field, raw)?.as_str() {
        "whole" => Ok(Over::Whole),
        "long_part" => Ok(Over::LongPart),
        _ => Err(refused(field, "whole or long_part")),
    }
}

/// `{tag, length or length_min and length_max, alphabet, head_length?}`.
fn told_shape(field: &str, raw: &RawValue) -> Result<ToldShape, AdminRefusal> {
    let inside = |refusal: AdminRefusal| match refusal {
        AdminRefusal::Field { detail } => AdminRefusal::Field { detail: format!("{field}.{detail}") },
        other => other,
    };
    read_shape(raw).map_err(inside)
}

fn read_shape(raw: &RawValue) -> Result<ToldShape, AdminRefusal> {
    let fields = Fields::read(raw.get().as_bytes(), &SHAPE_FIELDS)?;
    let length = |field: &str, raw: &RawValue| {
        let expected = format!("a whole number from 0 to {LEGACY_LENGTH_MAX}");
        let read = serde_json::from_str(raw.get()).ok().filter(|length| *length <= LEGACY_LENGTH_MAX);
        read.ok_or_else(|| refused(field, expected))
    };
    let tag = fields.required("tag", intake::text)?;
    let (exactly, least, most) = (
        fields.optional("length", length)?,
        fields.optional("length_min", length)?,
        fields.optional("length_max", length)?,
    );
    let (least, most) = match (exactly, least, most) {
        (Some(exactly), None, None) => (exactly, exactly),
        (None, Some(least), Some(most)) => (least, most),
        _ => return Err(refused("length", "either `length`, or `length_min` and `length_max`")),
    };
    let alphabet = fields.required("alphabet", |field, raw| {
        let name = intake::text(field, raw)?;
        let known = Alphabet::ALL.into_iter().find(|alphabet| alphabet.name() == name);
        known.ok_or_else(|| refused(field, "base62, hex, base64url or printable"))
    })?;
    let head_length = fields.optional("head_length", length)?;
    let shape = LegacyShape::new(&tag, least, most, alphabet);
    let shape = shape.map_err(|why| AdminRefusal::Field { detail: why.to_string() })?;
    if let Some(length) = head_length {
        let fits = shape.clone().with_head(length);
        fits.map_err(|_| refused("head_length", "at least the tag, and less than the shortest key"))?;
    }
    Ok(ToldShape { shape, head_length })
}

fn records<'a>(field: &str, raw: &'a RawValue) -> Result<Vec<&'a RawValue>, AdminRefusal> {
    let expected = format!("a list of 1 to {RECORDS_MAX} records");
    let records: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| refused(field, &expected))?;
    if (1..=RECORDS_MAX).contains(&records.len()) { Ok(records) } else { Err(refused(field, expected)) }
}

fn misfit(why: ImportRefused) -> AdminRefusal {
    AdminRefusal::Field { detail: why.to_string() }
}

/// What is wrong with a record's form, without its words: a list of keys may stand where names should.
fn unquoted(refusal: AdminRefusal) -> AdminRefusal {
    match refusal {
        AdminRefusal::Field { detail } if detail.starts_with("body: ") => {
            AdminRefusal::Field { detail: detail.replacen("body: ", "record: ", 1) }
        }
        AdminRefusal::Field { .. } => {
            refused("record", format!("no field but {}", record_fields().join(", ")))
        }
        other => other,
    }
}
