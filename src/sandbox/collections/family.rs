//! Records that hang on others, and what is found among the records of a collection.
//!
//! A child names its parent in a field that the sandbox keeps: it is made only where the parent is, never moves
//! to another, and goes with it, in the same transaction. What hangs on what follows from the collections' names.
//!
//! Never here: a kind of thing, HTTP, JSON-RPC.

use std::collections::{HashMap, HashSet};

use redb::ReadableTable;
use serde_json::{Map, Value};

use super::{CREATED, CollectionName, ID, UPDATED, new_fields, read, record, written};
use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::failure::{Failure, SandboxError};
use crate::sandbox::members::Members;
use crate::sandbox::number::new_number;
use crate::sandbox::page::Page;
use crate::sandbox::records::file::{Collection, Tables, counts_in, insert_in, remove_in, write};

/// Which records of a collection are wanted.
#[derive(Clone, Default, Debug)]
pub(in crate::sandbox) struct Sought {
    /// Only those that hang on the record with this id.
    pub(in crate::sandbox) parent_id: Option<String>,
    /// Only those that hold this text in a field of theirs, in any letter case.
    pub(in crate::sandbox) text: Option<String>,
}

impl Sandbox {
    /// Makes a record of these fields that hangs on another.
    pub(in crate::sandbox) async fn create_child(
        &self,
        workspace: WorkspaceId,
        name: CollectionName,
        parent_id: &str,
        members: Members,
    ) -> Result<Value, Failure> {
        let (Some(parent), Some(field)) = (name.parent(), name.parent_field()) else {
            return self.create_record(workspace, name, members).await;
        };
        let given = new_fields(members)?;
        if given.contains_key(&field) {
            return Err(Failure::Invalid(format!(
                "{field} stands beside fields and must not be among them."
            )));
        }
        let no_parent = Failure::Invalid(format!("{field} must be the id of a record that is there."));
        let Ok(parent_number) = parent.number(parent_id) else { return Err(no_parent) };
        let mut fields = Map::with_capacity(given.len() + 1);
        fields.insert(field, Value::String(parent_id.to_owned()));
        fields.extend(given);

        let now = self.now();
        let (proposed, time) = (new_number(now)?, now.to_rfc3339());
        let (parents, children) = (parent.of(workspace), name.of(workspace));
        let made = self.records.write(move |file| {
            file.write_tables(|tables| {
                let is_there = tables.records.get(parents.row(parent_number)).map_err(write)?.is_some();
                if !is_there {
                    return Ok(Err(no_parent));
                }
                let document = |number| written(&record(name.id(number), fields, time.clone(), time));
                let made = insert_in(&mut tables.records, &mut tables.counts, &children, proposed, document)?;
                Ok(made.map(|(_, document)| document).ok_or(Failure::Full))
            })
        });
        Ok(read(&made.await??)?)
    }

    /// A page of those records that are sought, newest first.
    pub(in crate::sandbox) async fn find_records(
        &self,
        workspace: WorkspaceId,
        name: &CollectionName,
        sought: Sought,
        page: Page,
    ) -> Result<Vec<Value>, Failure> {
        let (field, text) = (name.parent_field(), sought.text.map(|text| text.to_lowercase()));
        let fits = move |document: &[u8]| {
            let record: Map<String, Value> =
                serde_json::from_slice(document).map_err(SandboxError::Unreadable)?;
            let hangs_there = sought.parent_id.as_deref().is_none_or(|id| {
                field.as_ref().and_then(|field| record.get(field)).and_then(Value::as_str) == Some(id)
            });
            // What the sandbox sets is no caller's text.
            let is_own =
                |name: &str| ![ID, CREATED, UPDATED].contains(&name) && field.as_deref() != Some(name);
            let own = || record.iter().filter(|(name, _)| is_own(name));
            Ok(hangs_there && text.as_deref().is_none_or(|text| own().any(|(_, value)| holds(value, text))))
        };
        let documents = self.records.newest_that(name.of(workspace), page.offset, page.limit, fits).await?;
        Ok(documents.iter().map(|document| read(document)).collect::<Result<_, _>>()?)
    }

    /// Deletes a record with all that hangs on it; gives how many went with it.
    pub(in crate::sandbox) async fn delete_record(
        &self,
        workspace: WorkspaceId,
        name: &CollectionName,
        id: &str,
    ) -> Result<usize, Failure> {
        let (number, collection, id) = (name.number(id)?, name.of(workspace), id.to_owned());
        let removed = self.records.write(move |file| {
            file.write_tables(|tables| {
                if !remove_in(&mut tables.records, &mut tables.counts, &collection, number)? {
                    return Ok(None);
                }
                remove_family(tables, &collection, id).map(Some)
            })
        });
        removed.await?.ok_or(Failure::NotFound("record"))
    }
}

/// Removes what hangs on a record that is gone, down to the last.
fn remove_family(
    tables: &mut Tables<'_>,
    gone_from: &Collection,
    gone_id: String,
) -> Result<usize, SandboxError> {
    let below = format!("{}.", gone_from.name);
    // A parent's name begins its children's, so it comes before them.
    let families = counts_in(&tables.counts, gone_from.workspace, &below).map_err(write)?;
    let mut gone: HashMap<String, HashSet<String>> =
        HashMap::from([(gone_from.name.to_string(), HashSet::from([gone_id]))]);
    let mut removed = 0;
    for (name, _) in families {
        let Some(parents) = name.rsplit_once('.').and_then(|(parent, _)| gone.get(parent)) else { continue };
        let Some(field) = CollectionName(name.clone()).parent_field() else { continue };
        let collection = Collection { workspace: gone_from.workspace, name: name.clone().into() };
        let orphans = orphans(tables, &collection, &field, parents)?;
        for (number, _) in &orphans {
            remove_in(&mut tables.records, &mut tables.counts, &collection, *number)?;
        }
        removed += orphans.len();
        gone.insert(name, orphans.into_iter().map(|(_, id)| id).collect());
    }
    Ok(removed)
}

/// The records that hang on one of these: their numbers and ids.
fn orphans(
    tables: &Tables<'_>,
    collection: &Collection,
    field: &str,
    parents: &HashSet<String>,
) -> Result<Vec<(u128, String)>, SandboxError> {
    let mut found = Vec::new();
    let rows = tables.records.range(collection.row(0)..=collection.row(u128::MAX)).map_err(write)?;
    for row in rows {
        let (place, document) = row.map_err(write)?;
        let record: Map<String, Value> =
            serde_json::from_slice(document.value()).map_err(SandboxError::Unreadable)?;
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if text(field).is_some_and(|parent| parents.contains(parent)) {
            found.push((place.value().2, text(ID).unwrap_or_default().to_owned()));
        }
    }
    Ok(found)
}

/// Refuses a change of the record that another hangs on. Sent back as it was, it is no change.
pub(super) fn check_same_parent(
    field: &str,
    old: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), Failure> {
    if old.get(field) == patch.get(field) {
        return Ok(());
    }
    Err(Failure::Invalid(format!("{field} must be the one that the record has, or left out.")))
}

/// Whether a value holds a text that is in lower case.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own.to_lowercase().contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Array(values) => values.iter().any(|value| holds(value, text)),
        Value::Object(fields) => fields.values().any(|value| holds(value, text)),
        Value::Null | Value::Bool(_) => false,
    }
}
