//! The kinds of records that a product's tools speak of, read out of the tools' names.
//!
//! `contacts_list` lists contacts. `contacts_emails_list` lists the emails that hang on contacts, if there are
//! tools for contacts, and otherwise things called `contacts_emails`. `resources`, where no tool writes them,
//! are the kinds themselves. A name that ends in no verb, or that no collection can have, speaks of nothing.
//!
//! Never here: a product's name, a list of kinds.

use std::collections::{BTreeMap, HashMap};

use super::collections::CollectionName;

/// What a tool does with records of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    List,
    Get,
    Search,
    Create,
    Update,
    Delete,
}

impl Verb {
    /// The verb that this word is.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "list" => Self::List,
            "get" => Self::Get,
            "search" => Self::Search,
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    /// Whether it leaves everything as it is.
    pub(super) const fn reads(self) -> bool {
        matches!(self, Self::List | Self::Get | Self::Search)
    }
}

/// One kind of records.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Kind {
    /// Where they lie.
    pub(super) collection: CollectionName,
    /// Whether other kinds hang on it.
    pub(super) has_children: bool,
}

/// What a tool is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// Does this with records of this kind.
    Records(&'a Kind, Verb),
    /// Lists the kinds.
    ListKinds,
    /// Shows one kind.
    GetKind,
}

/// The name whose tools tell of the kinds.
const CATALOGUE: &str = "resources";

/// Every kind that a product's tools speak of.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// By the beginnings of their tools' names.
    by_stem: BTreeMap<String, Kind>,
    purposes: HashMap<String, (String, Verb)>,
    has_catalogue: bool,
}

impl Kinds {
    /// Reads the names of tools.
    pub(super) fn of_tools(names: &[String]) -> Self {
        let purposes: HashMap<_, _> = names
            .iter()
            .filter_map(|name| {
                let (stem, verb) = name.rsplit_once('_')?;
                Some((name.clone(), (stem.to_owned(), Verb::of(verb)?)))
            })
            .collect();
        let mut stems: Vec<_> = purposes.values().map(|(stem, _)| stem.as_str()).collect();
        stems.sort_unstable();
        stems.dedup();
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        // A stem comes before those that it begins.
        for stem in stems {
            let beginnings = stem
                .match_indices('_')
                .rev()
                .filter_map(|(place, _)| Some((stem.get(..place)?, stem.get(place + 1..)?)));
            let hung = beginnings.into_iter().find(|(parent, _)| kinds.contains_key(*parent));
            let collection = match hung.and_then(|(parent, own)| kinds.get_mut(parent).zip(Some(own))) {
                Some((parent, own)) => {
                    let child = parent.collection.child(own);
                    parent.has_children |= child.is_some();
                    child
                }
                None => CollectionName::parse(stem),
            };
            if let Some(collection) = collection {
                kinds.insert(stem.to_owned(), Kind { collection, has_children: false });
            }
        }
        let writes = purposes.values().any(|(stem, verb)| stem == CATALOGUE && !verb.reads());
        let has_catalogue = !writes && kinds.get(CATALOGUE).is_some_and(|kind| !kind.has_children);
        if has_catalogue {
            kinds.remove(CATALOGUE);
        }
        Self { by_stem: kinds, purposes, has_catalogue }
    }

    /// What the tool with this name is for.
    pub(super) fn purpose(&self, tool: &str) -> Option<Purpose<'_>> {
        let (stem, verb) = self.purposes.get(tool)?;
        if let Some(kind) = self.by_stem.get(stem) {
            return Some(Purpose::Records(kind, *verb));
        }
        match verb {
            _ if !self.has_catalogue || stem != CATALOGUE => None,
            Verb::List => Some(Purpose::ListKinds),
            Verb::Get => Some(Purpose::GetKind),
            _ => None,
        }
    }

    /// All kinds, a parent before its children.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kind> {
        self.by_stem.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(names: &[&str]) -> Kinds {
        Kinds::of_tools(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn records(kinds: &Kinds, tool: &str) -> Option<(String, Verb)> {
        match kinds.purpose(tool)? {
            Purpose::Records(kind, verb) => Some((kind.collection.as_str().to_owned(), verb)),
            Purpose::ListKinds | Purpose::GetKind => None,
        }
    }

    #[test]
    fn a_name_is_a_kind_and_a_verb_and_a_child_s_stands_behind_its_parent_s() {
        let kinds = kinds(&[
            "contacts_list",
            "contacts_emails_create",
            "contacts_emails_notes_delete",
            "order_items_get",
            "order_items_lines_search",
            "domains_contacts_update",
            "contacts",
            "contacts_fly",
            "_list",
            "list",
            "7_list",
            "a.b_list",
            "contacts__list",
        ]);
        for (tool, expected) in [
            ("contacts_list", Some(("contacts", Verb::List))),
            ("contacts_emails_create", Some(("contacts.emails", Verb::Create))),
            ("contacts_emails_notes_delete", Some(("contacts.emails.notes", Verb::Delete))),
            ("order_items_get", Some(("order_items", Verb::Get))),
            ("order_items_lines_search", Some(("order_items.lines", Verb::Search))),
            ("domains_contacts_update", Some(("domains_contacts", Verb::Update))),
            ("contacts", None),
            ("contacts_fly", None),
            ("_list", None),
            ("list", None),
            ("7_list", None),
            ("a.b_list", None),
            ("contacts__list", None),
            ("contacts_get", None),
        ] {
            let expected = expected.map(|(name, verb)| (name.to_owned(), verb));
            assert_eq!(records(&kinds, tool), expected, "{tool}");
        }
        let parents: Vec<_> =
            kinds.all().filter(|kind| kind.has_children).map(|kind| kind.collection.as_str()).collect();
        assert_eq!(parents, ["contacts", "contacts.emails", "order_items"]);
    }

    #[test]
    fn resources_are_the_kinds_unless_something_writes_them_or_hangs_on_them() {
        let catalogue = kinds(&["resources_list", "resources_get", "resources_search", "tasks_list"]);
        assert!(matches!(catalogue.purpose("resources_list"), Some(Purpose::ListKinds)));
        assert!(matches!(catalogue.purpose("resources_get"), Some(Purpose::GetKind)));
        assert!(catalogue.purpose("resources_search").is_none());
        assert_eq!(catalogue.all().count(), 1);
        for written in ["resources_create", "resources_tags_list"] {
            let kinds = kinds(&["resources_list", written]);
            assert!(matches!(kinds.purpose("resources_list"), Some(Purpose::Records(..))), "{written}");
        }
    }
}
