//! The tools that keep records: what each takes follows from its verb and from what its kind hangs on.
//!
//! Whatever a product calls its things, they are made, found, changed and deleted in the same way.
//!
//! Never here: a name of a kind, a rule about records.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::schema::{self, data, list_of, object, open_object, short_text, text};
use super::tools::{Data, Hints, Listed, ToolCall, id, written};
use crate::domain::id::WorkspaceId;
use crate::sandbox::Sandbox;
use crate::sandbox::collections::{CollectionName, Sought};
use crate::sandbox::failure::Failure;
use crate::sandbox::kinds::{Kind, Purpose, Verb};
use crate::sandbox::members::Members;
use crate::sandbox::page::Page;

/// Characters of a text that is searched for at most.
const QUERY_CHARS_MAX: usize = 200;

/// A tool for records of a kind, or for the kinds themselves.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct Kept<'a>(pub(super) Purpose<'a>);

impl Kept<'_> {
    /// The tool as it is listed under this name.
    pub(super) fn listed(self, name: &str) -> Listed {
        let (title, description, input_schema, output_schema, hints) = match self.0 {
            Purpose::Records(kind, verb) => {
                let noun = Noun::of(&kind.collection);
                let (title, description) = noun.said(verb, kind.has_children);
                (title, description, taken(kind, &noun, verb), given(kind, verb), hints(verb))
            }
            Purpose::ListKinds => (
                "List resources".to_owned(),
                "Lists the kinds of things that are kept here, and how many there are of each.".to_owned(),
                object(&Value::Object(schema::page()), &[]),
                data(&list_of(&kind_schema())),
                Hints::READS,
            ),
            Purpose::GetKind => (
                "Get a resource".to_owned(),
                "Tells of one kind of things how many are kept here.".to_owned(),
                object(&json!({"id": text("The kind's id, as resources are listed with.")}), &["id"]),
                kind_schema(),
                Hints::READS,
            ),
        };
        Listed {
            name: name.to_owned().into(),
            title: Some(title.into()),
            description: description.into(),
            input_schema,
            output_schema: Some(output_schema),
            annotations: Some(hints),
        }
    }

    /// Does what it is for.
    pub(super) async fn run(self, call: ToolCall<'_>) -> Result<Box<RawValue>, Failure> {
        let members = Members::parse(call.arguments, "arguments")?;
        match self.0 {
            Purpose::Records(kind, verb) if verb.reads() => {
                look(call.sandbox, call.workspace, kind, verb, members).await
            }
            Purpose::Records(kind, verb) => change(&call, kind, verb, members).await,
            Purpose::ListKinds => {
                let mut members = members;
                members.only(&crate::sandbox::page::PARAMETERS)?;
                let page = Page::from_members(&mut members)?;
                let kinds = kinds(call.sandbox, call.workspace).await?;
                written(&Data { data: page.of(&kinds) })
            }
            Purpose::GetKind => {
                let mut members = members;
                members.only(&["id"])?;
                let id = id(&mut members, "id")?;
                let kinds = kinds(call.sandbox, call.workspace).await?;
                let found = kinds.iter().find(|kind| kind.id == id);
                written(found.ok_or(Failure::NotFound("kind of things"))?)
            }
        }
    }
}

async fn look(
    sandbox: &Sandbox,
    workspace: WorkspaceId,
    kind: &Kind,
    verb: Verb,
    mut members: Members,
) -> Result<Box<RawValue>, Failure> {
    let name = &kind.collection;
    if verb == Verb::Get {
        members.only(&["id"])?;
        return written(&sandbox.record(workspace, name, &id(&mut members, "id")?).await?);
    }
    let parent_field = name.parent_field();
    let mut known: Vec<_> = parent_field.as_deref().into_iter().collect();
    if verb == Verb::Search {
        known.push("query");
    }
    known.extend(crate::sandbox::page::PARAMETERS);
    members.only(&known)?;
    let text = if verb == Verb::Search { Some(query(&mut members)?) } else { None };
    let parent_id = match parent_field {
        Some(field) => members.take(&field).map(|given| match given {
            Value::String(id) => Ok(id),
            _ => Err(Failure::Invalid(format!("{field} must be a text, or left out."))),
        }),
        None => None,
    };
    let sought = Sought { parent_id: parent_id.transpose()?, text };
    let page = Page::from_members(&mut members)?;
    written(&Data { data: sandbox.find_records(workspace, name, sought, page).await? })
}

async fn change(
    call: &ToolCall<'_>,
    kind: &Kind,
    verb: Verb,
    mut members: Members,
) -> Result<Box<RawValue>, Failure> {
    let ToolCall { sandbox, workspace, .. } = *call;
    let name = kind.collection.clone();
    match (verb, name.parent_field()) {
        (Verb::Create, Some(field)) => {
            members.only(&[&field, "fields"])?;
            let parent_id = id(&mut members, &field)?;
            written(&sandbox.create_child(workspace, name, &parent_id, fields(call.arguments)?).await?)
        }
        (Verb::Create, None) => {
            members.only(&["fields"])?;
            written(&sandbox.create_record(workspace, name, fields(call.arguments)?).await?)
        }
        (Verb::Update, _) => {
            members.only(&["id", "fields"])?;
            let id = id(&mut members, "id")?;
            written(&sandbox.patch_record(workspace, name, &id, fields(call.arguments)?).await?)
        }
        (Verb::Delete | Verb::List | Verb::Get | Verb::Search, _) => {
            members.only(&["id"])?;
            let id = id(&mut members, "id")?;
            let children = sandbox.delete_record(workspace, &name, &id).await?;
            let children_deleted = kind.has_children.then_some(children);
            written(&Gone { id: &id, deleted: true, children_deleted })
        }
    }
}

#[derive(Serialize)]
struct Gone<'a> {
    id: &'a str,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    children_deleted: Option<usize>,
}

/// The member `fields`: an object, with each of its fields once.
fn fields(arguments: &[u8]) -> Result<Members, Failure> {
    #[derive(Deserialize)]
    struct Given<'a> {
        #[serde(borrow)]
        fields: Option<&'a RawValue>,
    }
    let given: Given<'_> = serde_json::from_slice(arguments)
        .map_err(|_| Failure::Invalid("arguments must be an object.".to_owned()))?;
    let text = given.fields.ok_or_else(|| Failure::Invalid("fields must be an object.".to_owned()))?;
    Members::parse(text.get().as_bytes(), "fields")
}

fn query(members: &mut Members) -> Result<String, Failure> {
    match members.take("query") {
        Some(Value::String(text)) if !text.trim().is_empty() && text.chars().count() <= QUERY_CHARS_MAX => {
            Ok(text)
        }
        _ => Err(Failure::Invalid(format!(
            "query must be a text of 1 to {QUERY_CHARS_MAX} characters, not only spaces."
        ))),
    }
}

/// A kind as it is shown.
#[derive(Serialize)]
struct ShownKind {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    count: u64,
}

async fn kinds(sandbox: &Sandbox, workspace: WorkspaceId) -> Result<Vec<ShownKind>, Failure> {
    let counts = sandbox.records.counts(workspace).await?;
    let shown = sandbox.kinds.all().map(|kind| {
        let place = kind.collection.of(workspace);
        let count = counts.iter().find(|(name, _)| *name == place.name).map_or(0, |(_, count)| *count);
        let parent = kind.collection.parent().map(|parent| parent.as_str().to_owned());
        ShownKind { id: kind.collection.as_str().to_owned(), parent, count }
    });
    Ok(shown.collect())
}

fn kind_schema() -> Value {
    let properties =
        json!({"id": {"type": "string"}, "parent": {"type": "string"}, "count": schema::count()});
    object(&properties, &["id", "count"])
}

const fn hints(verb: Verb) -> Hints {
    match verb {
        Verb::List | Verb::Get | Verb::Search => Hints::READS,
        Verb::Create => Hints::CREATES,
        Verb::Update => Hints::CHANGES,
        Verb::Delete => Hints::DELETES,
    }
}

/// What one thing of a kind is called, and many of them.
struct Noun {
    one: String,
    many: String,
    /// One of what it hangs on.
    parent: Option<String>,
}

impl Noun {
    fn of(name: &CollectionName) -> Self {
        let spaced = |word: &str| word.trim_matches('_').replace(['_', '-'], " ");
        let parent = name.parent().map(|parent| spaced(&parent.word()));
        let behind = |own: String| parent.as_ref().map_or(own.clone(), |parent| format!("{parent} {own}"));
        Self { one: behind(spaced(&name.word())), many: behind(spaced(name.own_name())), parent }
    }

    /// The title and the description of a tool.
    fn said(&self, verb: Verb, has_children: bool) -> (String, String) {
        let Self { one, many, parent } = self;
        let of_one = parent.as_ref().map(|parent| format!(": all, or those of one {parent}"));
        let of_one = of_one.unwrap_or_default();
        let on_it = if has_children { " with all that hangs on it" } else { "" };
        match verb {
            Verb::List => (format!("List {many}"), format!("Lists {many}, newest first{of_one}.")),
            Verb::Get => (format!("Get one {one}"), format!("Gets one {one} by its id.")),
            Verb::Search => (
                format!("Search {many}"),
                format!("Finds {many} that hold a text, in any letter case, newest first{of_one}."),
            ),
            Verb::Create => (format!("Create one {one}"), format!("Makes one {one} of any fields.")),
            Verb::Update => (
                format!("Update one {one}"),
                format!("Changes fields of one {one}: null removes one, those not named stay."),
            ),
            Verb::Delete => (format!("Delete one {one}"), format!("Deletes one {one} for good{on_it}.")),
        }
    }
}

/// What a tool takes.
fn taken(kind: &Kind, noun: &Noun, verb: Verb) -> Value {
    let parent = kind.collection.parent_field().zip(noun.parent.as_ref()).map(|(field, parent)| {
        let description = format!("The id of the {parent} that it hangs on.");
        (field, text(&description))
    });
    let id = || ("id".to_owned(), text(&format!("The id of the {}.", noun.one)));
    let fields = |description: &str| {
        let fields = json!({"type": "object", "additionalProperties": true, "description": description});
        ("fields".to_owned(), fields)
    };
    let (properties, required): (Map<_, _>, Vec<String>) = match verb {
        Verb::List => (parent.into_iter().chain(schema::page()).collect(), Vec::new()),
        Verb::Search => {
            let query = ("query".to_owned(), short_text(QUERY_CHARS_MAX, "The text to find."));
            let properties = parent.into_iter().chain([query]).chain(schema::page());
            (properties.collect(), vec!["query".to_owned()])
        }
        Verb::Get | Verb::Delete => ([id()].into_iter().collect(), vec!["id".to_owned()]),
        Verb::Create => {
            let properties: Map<_, _> =
                parent.into_iter().chain([fields("Whatever is to be kept.")]).collect();
            let required = properties.keys().cloned().collect();
            (properties, required)
        }
        Verb::Update => {
            let properties = [id(), fields("What is to change; null removes a field.")];
            (properties.into_iter().collect(), vec!["id".to_owned(), "fields".to_owned()])
        }
    };
    let required: Vec<_> = required.iter().map(String::as_str).collect();
    object(&Value::Object(properties), &required)
}

/// What a tool gives.
fn given(kind: &Kind, verb: Verb) -> Value {
    match verb {
        Verb::List | Verb::Search => data(&list_of(&record(kind))),
        Verb::Get | Verb::Create | Verb::Update => record(kind),
        Verb::Delete if kind.has_children => {
            let properties = json!({"id": {"type": "string"}, "deleted": {"const": true}, "children_deleted": schema::count()});
            object(&properties, &["id", "deleted", "children_deleted"])
        }
        Verb::Delete => {
            object(&json!({"id": {"type": "string"}, "deleted": {"const": true}}), &["id", "deleted"])
        }
    }
}

/// A record: what the sandbox sets, and whatever its caller gave.
fn record(kind: &Kind) -> Value {
    let mut properties = Map::from_iter([("id".to_owned(), json!({"type": "string"}))]);
    let mut required = vec!["id"];
    let parent = kind.collection.parent_field();
    if let Some(field) = &parent {
        properties.insert(field.clone(), json!({"type": "string"}));
        required.push(field);
    }
    for name in ["created_at", "updated_at"] {
        properties.insert(name.to_owned(), schema::moment());
        required.push(name);
    }
    open_object(&Value::Object(properties), &required)
}
