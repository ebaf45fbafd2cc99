//! Collections of anything: JSON objects that callers keep under a name, whatever product they belong to.
//!
//! A record has an id, what its caller gave it, and when it was made and changed. The sandbox reads nothing
//! else of it, but where it hangs on another (`family`). How large a record is, how many a collection has, and
//! how many collections and records a workspace has are bounded.
//!
//! Never here: HTTP, a meaning of a field.

mod family;

pub(super) use family::Sought;
use serde_json::{Map, Value};

use super::Sandbox;
use super::failure::{Failure, SandboxError};
use super::members::Members;
use super::number::{id_of, new_number, number_behind};
use super::page::Page;
use super::records::due::Alteration;
use super::records::file::Collection;
use crate::domain::id::WorkspaceId;

/// Bytes of one record's JSON at most.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// Characters of a collection's name at most.
const NAME_CHARS_MAX: usize = 64;
/// The fields that the sandbox sets.
const ID: &str = "id";
const CREATED: &str = "created_at";
const UPDATED: &str = "updated_at";

/// The name of a collection, which goes into ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CollectionName(String);

impl CollectionName {
    /// A segment of a path that can name one: a letter, then letters, digits, `_` and `-`.
    pub(super) fn parse(segment: &str) -> Option<Self> {
        let fits = segment.len() <= NAME_CHARS_MAX
            && segment.starts_with(|first: char| first.is_ascii_alphabetic())
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        fits.then(|| Self(segment.to_owned()))
    }

    /// The collection of things with this name that hang on the records of this one.
    pub(super) fn child(&self, segment: &str) -> Option<Self> {
        Self::parse(segment).map(|child| Self(format!("{}.{}", self.0, child.0)))
    }

    /// The collection of what its records hang on.
    pub(super) fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('.').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The field that names the record which another hangs on, such as `contact_id`.
    pub(super) fn parent_field(&self) -> Option<String> {
        self.parent().map(|parent| format!("{}{ID}", parent.word()))
    }

    /// The whole name: a child's behind its parent's and a dot.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its own part of the name.
    pub(super) fn own_name(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(_, own)| own)
    }

    /// Where its records lie. The dot keeps them apart from the collections that have rules of their own.
    pub(super) fn of(&self, workspace: WorkspaceId) -> Collection {
        Collection { workspace, name: format!("own.{}", self.0).into() }
    }

    /// The word that its ids begin with: one of the things in it.
    pub(super) fn word(&self) -> String {
        let name = self.own_name().to_ascii_lowercase().replace('-', "_");
        if let Some(stem) = name.strip_suffix("es").filter(|stem| stem.ends_with("ss")) {
            return format!("{stem}_");
        }
        if let Some(stem) = name.strip_suffix("ies").filter(|stem| !stem.is_empty()) {
            return format!("{stem}y_");
        }
        let stem = name.strip_suffix('s').filter(|stem| !stem.is_empty() && !stem.ends_with('s'));
        format!("{}_", stem.unwrap_or(&name))
    }

    fn id(&self, number: u128) -> String {
        id_of(&self.word(), number)
    }

    fn number(&self, id: &str) -> Result<u128, Failure> {
        number_behind(&self.word(), id).ok_or(Failure::NotFound("record"))
    }
}

impl Sandbox {
    /// Makes a record of these fields.
    pub(super) async fn create_record(
        &self,
        workspace: WorkspaceId,
        name: CollectionName,
        members: Members,
    ) -> Result<Value, Failure> {
        let fields = new_fields(members)?;
        let now = self.now();
        let proposed = new_number(now)?;
        let time = now.to_rfc3339();
        let collection = name.of(workspace);
        let document = self.records.insert(collection, proposed, move |number| {
            written(&record(name.id(number), fields, time.clone(), time))
        });
        Ok(read(&document.await?.ok_or(Failure::Full)?)?)
    }

    /// A page of records, newest first.
    pub(super) async fn list_records(
        &self,
        workspace: WorkspaceId,
        name: &CollectionName,
        page: Page,
    ) -> Result<Vec<Value>, Failure> {
        let documents = self.records.newest(name.of(workspace), page.offset, page.limit).await?;
        Ok(documents.iter().map(|document| read(document)).collect::<Result<_, _>>()?)
    }

    /// One record.
    pub(super) async fn record(
        &self,
        workspace: WorkspaceId,
        name: &CollectionName,
        id: &str,
    ) -> Result<Value, Failure> {
        let document = self.records.find(name.of(workspace), name.number(id)?).await?;
        Ok(read(&document.ok_or(Failure::NotFound("record"))?)?)
    }

    /// Gives a record these fields in place of all that it has.
    pub(super) async fn replace_record(
        &self,
        workspace: WorkspaceId,
        name: CollectionName,
        id: &str,
        members: Members,
    ) -> Result<Value, Failure> {
        let fields = caller_fields(members, id)?;
        check_size(&fields)?;
        self.rewrite(workspace, &name, id, move |_| Ok(fields)).await
    }

    /// Merges these fields into those that a record has; null removes one (RFC 7396).
    pub(super) async fn patch_record(
        &self,
        workspace: WorkspaceId,
        name: CollectionName,
        id: &str,
        members: Members,
    ) -> Result<Value, Failure> {
        let patch = caller_fields(members, id)?;
        let parent_field = name.parent_field();
        let merged = self.rewrite(workspace, &name, id, move |old| {
            if let Some(field) = parent_field.filter(|field| patch.contains_key(field)) {
                family::check_same_parent(&field, &old, &patch)?;
            }
            let mut fields = Value::Object(old);
            merge(&mut fields, Value::Object(patch));
            Ok(match fields {
                Value::Object(fields) => fields,
                _ => Map::new(),
            })
        });
        merged.await
    }

    /// Rewrites a record's fields; one that would be too large stays as it is.
    async fn rewrite(
        &self,
        workspace: WorkspaceId,
        name: &CollectionName,
        id: &str,
        edit: impl FnOnce(Map<String, Value>) -> Result<Map<String, Value>, Failure> + Send + 'static,
    ) -> Result<Value, Failure> {
        let number = name.number(id)?;
        let (id, time) = (id.to_owned(), self.now().to_rfc3339());
        let rewritten = self.records.alter(name.of(workspace), number, move |document| {
            let mut old: Map<_, _> = serde_json::from_slice(document).map_err(SandboxError::Unreadable)?;
            old.shift_remove(ID);
            old.shift_remove(UPDATED);
            let created = match old.shift_remove(CREATED) {
                Some(Value::String(created)) => created,
                _ => time.clone(),
            };
            let fields = match edit(old).and_then(|fields| check_size(&fields).map(|()| fields)) {
                Ok(fields) => fields,
                Err(refusal) => return Ok((Alteration::Nothing, Err(refusal))),
            };
            let rewritten = record(id, fields, created, time);
            let document = written(&rewritten)?;
            Ok((Alteration::Replaced { document, was_due: None, due: None }, Ok(rewritten)))
        });
        rewritten.await?.ok_or(Failure::NotFound("record"))?
    }
}

/// What a new record is made of.
fn new_fields(members: Members) -> Result<Map<String, Value>, Failure> {
    let fields = members.into_map();
    if let Some(field) = [ID, CREATED, UPDATED].into_iter().find(|field| fields.contains_key(*field)) {
        return Err(Failure::Invalid(format!("{field} is set by the sandbox and must not be given.")));
    }
    check_size(&fields)?;
    Ok(fields)
}

/// What a caller changes. What was read can be sent back whole: the sandbox's own fields are left out then.
fn caller_fields(members: Members, id: &str) -> Result<Map<String, Value>, Failure> {
    let mut fields = members.into_map();
    if fields.shift_remove(ID).is_some_and(|given| given != *id) {
        return Err(Failure::Invalid("id must be that of the record, or left out.".to_owned()));
    }
    fields.shift_remove(CREATED);
    fields.shift_remove(UPDATED);
    Ok(fields)
}

fn record(id: String, fields: Map<String, Value>, created: String, updated: String) -> Value {
    let mut record = Map::with_capacity(fields.len() + 3);
    record.insert(ID.to_owned(), Value::String(id));
    record.extend(fields);
    record.insert(CREATED.to_owned(), Value::String(created));
    record.insert(UPDATED.to_owned(), Value::String(updated));
    Value::Object(record)
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.shift_remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn check_size(fields: &Map<String, Value>) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(fields).map_or(usize::MAX, |text| text.len());
    if bytes <= RECORD_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::Invalid(format!("A record has at most {RECORD_BYTES_MAX} bytes of JSON; this has {bytes}.")))
}

fn read(document: &[u8]) -> Result<Value, SandboxError> {
    serde_json::from_slice(document).map_err(SandboxError::Unreadable)
}

fn written(record: &Value) -> Result<Vec<u8>, SandboxError> {
    serde_json::to_vec(record).map_err(SandboxError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_the_word_for_one_thing() {
        for (name, word) in [
            ("contexts", "context_"),
            ("stories", "story_"),
            ("addresses", "address_"),
            ("businesses", "business_"),
            ("esses", "ess_"),
            ("class", "class_"),
            ("Order-Items", "order_item_"),
            ("s", "s_"),
            ("ies", "ie_"),
        ] {
            assert_eq!(CollectionName::parse(name).unwrap().word(), word);
        }
        for bad in ["", "1x", "_x", "a.b", "a%20b", "a/b", "é", &"x".repeat(65)] {
            assert!(CollectionName::parse(bad).is_none(), "{bad}");
        }
        let emails = CollectionName::parse("contacts").unwrap().child("emails").unwrap();
        assert_eq!((emails.as_str(), emails.own_name()), ("contacts.emails", "emails"));
        assert_eq!(
            (emails.word().as_str(), emails.parent_field().as_deref()),
            ("email_", Some("contact_id"))
        );
        assert!(emails.child("a.b").is_none());
    }

    #[test]
    fn a_patch_is_merged_as_rfc_7396_says() {
        let mut target = serde_json::json!({"a": "b", "c": {"d": "e", "f": "g"}, "h": [1]});
        merge(&mut target, serde_json::json!({"a": "z", "c": {"f": null, "n": {"x": null}}, "h": {"i": 1}}));
        assert_eq!(target, serde_json::json!({"a": "z", "c": {"d": "e", "n": {}}, "h": {"i": 1}}));
    }
}
