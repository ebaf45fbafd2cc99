//! One of several operators: changes the keys of a workspace of its own without pause, and is its own model of what
//! the daemon acknowledged.
//!
//! A change is in doubt from the moment it is sent until its answer is whole. After a kill every change that is not
//! in doubt must stand, and the one that is must stand whole or not at all; which it was is read off the daemon and
//! becomes part of the model. A text that once ended is kept for good, to be presented again and again.
//!
//! Never here: an expectation that is taken from what the daemon says of itself after a kill, but for the one change in
//! doubt.

use std::fmt;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, text};
use crate::harness::random::Random;
use crate::harness::wire::{Answer, Call, Connection};

/// From so many keys on, a workspace is deleted and another one begun.
const KEYS_MAX: usize = 14;
/// Ended texts that are presented again after each kill, beside all that ended lately.
const ENDED_ASKED: usize = 10;
/// Long enough for every overlap to outlast its test.
const OVERLAP_SECS: u64 = 7_776_000;
/// What every verdict asks for.
const PERMISSION: &str = "posts:read";
/// What a key may hold, and whether [`PERMISSION`] is among it.
const PERMISSIONS: [(&[&str], bool); 4] = [
    (&["posts:read"], true),
    (&["ai:generate", "posts:read"], true),
    (&["ai:generate"], false),
    (&[], false),
];

/// A secret that still opens its key; whose text the answer that a kill swallowed, is known by its prefix alone.
#[derive(Clone)]
struct Secret {
    prefix: String,
    text: Option<Hidden>,
}

/// A key as it must be: all that is shown of it and that a change sets.
#[derive(Clone)]
struct HeldKey {
    id: String,
    shown: Value,
    /// The newest first.
    secrets: Vec<Secret>,
    /// Its last use as the file had it at the last start.
    last_used_at: Option<String>,
}

#[derive(Clone)]
struct HeldWorkspace {
    id: String,
    shown: Value,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
enum Change {
    Begin { name: String, plan: &'static str },
    Create { name: String, fields: Value },
    Edit { key: usize, fields: Value },
    Rotate { key: usize, overlap_secs: u64 },
    Revoke { key: usize },
    Import { batch: Vec<(String, Hidden)> },
    Arrange { fields: Value },
    Delete,
}

/// A row that the audit log must have: its action and its subject.
pub(crate) type Row = (String, String);

/// What was done, for the last line of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Figures {
    pub(crate) acknowledged: u64,
    pub(crate) in_doubt_made: u64,
    pub(crate) in_doubt_not_made: u64,
    pub(crate) verdicts: u64,
    pub(crate) ended: u64,
}

pub(crate) struct Operator {
    number: usize,
    random: Random,
    /// Numbers what is named.
    serial: u64,
    workspace: Option<HeldWorkspace>,
    keys: Vec<HeldKey>,
    /// Texts that must never pass again.
    ended: Vec<Hidden>,
    /// How many of them were there at the last check.
    ended_checked: usize,
    doubt: Option<Change>,
    /// What was acknowledged, or found to be made, since these were taken.
    rows: Vec<Row>,
    pub(crate) figures: Figures,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operator {}, change {}, in doubt {:?}", self.number, self.serial, self.doubt)
    }
}

impl Operator {
    pub(crate) fn new(number: usize, random: Random) -> Self {
        Self {
            number,
            random,
            serial: 0,
            workspace: None,
            keys: Vec::new(),
            ended: Vec::new(),
            ended_checked: 0,
            doubt: None,
            rows: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Makes one change after the other until the daemon is gone.
    pub(crate) async fn work(mut self, admin: SocketAddr, admin_key: Hidden) -> Self {
        let Ok(mut connection) = Connection::open(admin).await else { return self };
        loop {
            let change = self.choose();
            let call = self.call(&change).bearer(&admin_key);
            self.doubt = Some(change.clone());
            connection.send(&call.bytes(admin)).await;
            let Some(answer) = connection.answer_unless_cut("POST").await else { return self };
            self.doubt = None;
            if answer.status == 503 && is_creation(&change) {
                // No place in the line of slow hashes: nothing was done.
                assert_eq!(answer.json()["code"], "unavailable", "{self:?}: {answer:?}");
                continue;
            }
            assert!((200..300).contains(&answer.status), "{self:?}, {change:?}: {answer:?}");
            let before = self.ended.len();
            self.make(change, &answer.json());
            self.figures.acknowledged += 1;
            // Acknowledged: the very next request goes by it.
            for place in before..self.ended.len() {
                let call = verify(&self.ended[place]).bearer(&admin_key);
                connection.send(&call.bytes(admin)).await;
                let Some(answer) = connection.answer_unless_cut("POST").await else { return self };
                self.is_refused(&answer);
            }
        }
    }

    /// After a kill, with nobody at work: holds the daemon against the model, the change in doubt decided first.
    pub(crate) async fn check(&mut self, daemon: &Program) {
        let doubt = self.doubt.take();
        if let Some(Change::Begin { name, .. }) = &doubt {
            self.find_workspace(daemon, name).await;
        }
        let Some(workspace) = self.workspace.clone() else { return };
        let found = daemon.admin_json(Call::get(&format!("/api/v1/workspaces/{}", workspace.id))).await;
        let made = self.decide_about_workspace(&workspace, doubt.as_ref(), &found);
        if self.workspace.is_none() {
            return;
        }
        let listed = format!("/api/v1/keys?workspace_id={}&limit=100", workspace.id);
        let mut listed = daemon.admin_json(Call::get(&listed)).await["data"].as_array().unwrap().clone();
        for place in 0..self.keys.len() {
            let at = listed.iter().position(|key| key["id"] == self.keys[place].id);
            let found = listed.remove(at.unwrap_or_else(|| panic!("a key is gone: {self:?}")));
            self.decide_about_key(place, doubt.as_ref(), &found);
        }
        self.decide_about_new_keys(doubt.as_ref(), &listed, made);
        self.check_verdicts(daemon).await;
    }

    pub(crate) const fn number(&self) -> usize {
        self.number
    }

    /// The rows that must have come since this was asked before.
    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Texts that must be refused at every door, whoever presents them.
    pub(crate) fn ended(&self) -> &[Hidden] {
        &self.ended
    }

    fn choose(&mut self) -> Change {
        self.serial += 1;
        let name = format!("operator {} change {}", self.number, self.serial);
        if self.workspace.is_none() {
            return Change::Begin { name, plan: "pro" };
        }
        if self.keys.len() >= KEYS_MAX {
            return Change::Delete;
        }
        let good: Vec<_> = (0..self.keys.len()).filter(|key| !self.keys[*key].is_revoked()).collect();
        let any = |random: &mut Random| good[random.below(good.len())];
        match self.random.up_to(99) {
            0..=26 if !good.is_empty() => {
                Change::Edit { key: any(&mut self.random), fields: self.fields(&name) }
            }
            27..=38 if !good.is_empty() => {
                let key = any(&mut self.random);
                // Of two that overlap, another may only end both.
                let may_overlap = self.keys[key].secrets.len() == 1 && self.random.up_to(1) == 0;
                Change::Rotate { key, overlap_secs: if may_overlap { OVERLAP_SECS } else { 0 } }
            }
            39..=52 if !good.is_empty() => Change::Revoke { key: any(&mut self.random) },
            53..=64 => Change::Import { batch: self.batch(&name) },
            65..=78 => Change::Arrange { fields: self.arrangement(&name) },
            79 | 80 => Change::Delete,
            _ => Change::Create { fields: self.fields(&name), name },
        }
    }

    /// What a key is made with, or changed to: several fields, so that half of a change would show.
    fn fields(&mut self, name: &str) -> Value {
        let (permissions, _) = PERMISSIONS[self.random.below(PERMISSIONS.len())];
        let limit = 999_000 + self.random.up_to(1_000);
        json!({
            "name": name, "permissions": permissions, "metadata": {"change": self.serial},
            "rate": {"limit": limit, "window_s": 1, "burst": limit},
        })
    }

    fn batch(&mut self, name: &str) -> Vec<(String, Hidden)> {
        let mut records = Vec::new();
        for record in 0..=self.random.up_to(3) {
            let drawn: String = (0..26).map(|_| char::from(b'a' + self.letter())).collect();
            records.push((format!("{name} record {record}"), Hidden(format!("old_{drawn}"))));
        }
        records
    }

    fn letter(&mut self) -> u8 {
        u8::try_from(self.random.up_to(25)).unwrap()
    }

    fn arrangement(&mut self, name: &str) -> Value {
        let plan = ["pro", "enterprise"][self.random.below(2)];
        let status = ["active", "active", "suspended"][self.random.below(3)];
        let ai = 1_000 + self.random.up_to(1_000);
        json!({"name": name, "plan": plan, "status": status, "overrides": {"meters": {"ai": ai}}})
    }

    fn call(&self, change: &Change) -> Call {
        let workspace = self.workspace.as_ref().map_or("", |workspace| &workspace.id);
        let of_workspace = format!("/api/v1/workspaces/{workspace}");
        let of_key = |key: &usize| format!("/api/v1/keys/{}", self.keys[*key].id);
        match change {
            Change::Begin { name, plan } => {
                let wanted = json!({"name": name, "profile": "socialcrm", "plan": plan});
                Call::post("/api/v1/workspaces", &wanted)
            }
            Change::Create { fields, .. } => {
                let mut fields = fields.clone();
                fields["workspace_id"] = json!(workspace);
                Call::post("/api/v1/keys", &fields)
            }
            Change::Edit { key, fields } => Call::new("PATCH", &of_key(key)).json(fields),
            Change::Rotate { key, overlap_secs } => {
                Call::post(&format!("{}/rotate", of_key(key)), &json!({"overlap_s": overlap_secs}))
            }
            Change::Revoke { key } => Call::post(&format!("{}/revoke", of_key(key)), &json!({})),
            Change::Import { batch } => {
                let record =
                    |(name, text): &(String, Hidden)| json!({"name": name, "key": **text, "random": true});
                let records: Vec<_> = batch.iter().map(record).collect();
                let shape = json!({"tag": "old_", "length": 30, "alphabet": "base62"});
                let wanted = json!({"workspace_id": workspace, "shape": shape, "keys": records});
                Call::post("/api/v1/keys/import", &wanted)
            }
            Change::Arrange { fields } => Call::new("PATCH", &of_workspace).json(fields),
            Change::Delete => Call::new("DELETE", &of_workspace),
        }
    }

    /// Makes an acknowledged change in the model; `told` is its answer.
    fn make(&mut self, change: Change, told: &Value) {
        match change {
            Change::Begin { name, .. } => {
                let workspace = &told["workspace"];
                assert_eq!(workspace["name"], *name);
                self.begin(workspace);
            }
            Change::Create { fields, .. } => {
                let key = HeldKey::read(told, Some(Hidden(text(&told["key"]))));
                assert!(agrees(&key.shown, &fields), "{self:?}: {}", key.shown);
                self.note("key.created", &key.id.clone());
                self.keys.push(key);
            }
            Change::Edit { key, fields } => {
                self.keys[key].shown = merged(&self.keys[key].shown, &fields);
                self.note_of_key("key.updated", key);
            }
            Change::Rotate { key, overlap_secs } => {
                let secret = Secret { prefix: text(&told["prefix"]), text: Some(Hidden(text(&told["key"]))) };
                self.rotate(key, overlap_secs, secret);
            }
            Change::Revoke { key } => self.revoke(key),
            Change::Import { batch } => {
                let results = told["results"].as_array().unwrap();
                assert_eq!((&told["taken"], results.len()), (&json!(batch.len()), batch.len()), "{told}");
                let ids: Vec<_> = results.iter().map(|result| text(&result["id"])).collect();
                self.import(&batch, &ids, |place| text(&results[place]["prefix"]));
            }
            Change::Arrange { fields } => self.arrange(&fields),
            Change::Delete => self.delete(),
        }
    }

    fn begin(&mut self, shown: &Value) {
        let workspace = HeldWorkspace { id: text(&shown["id"]), shown: shown.clone() };
        self.note("workspace.created", &workspace.id.clone());
        self.workspace = Some(workspace);
        self.keys.clear();
    }

    fn rotate(&mut self, key: usize, overlap_secs: u64, secret: Secret) {
        let held = &mut self.keys[key];
        let older = std::mem::replace(&mut held.secrets, vec![secret]);
        if overlap_secs > 0 {
            held.secrets.extend(older);
        } else {
            self.ended.extend(older.into_iter().filter_map(|secret| secret.text));
        }
        self.note_of_key("key.rotated", key);
    }

    fn revoke(&mut self, key: usize) {
        let held = &mut self.keys[key];
        held.shown["status"] = json!("revoked");
        self.ended.extend(held.secrets.iter().filter_map(|secret| secret.text.clone()));
        self.note_of_key("key.revoked", key);
    }

    fn import(&mut self, batch: &[(String, Hidden)], ids: &[String], prefix: impl Fn(usize) -> String) {
        for (place, ((name, text), id)) in batch.iter().zip(ids).enumerate() {
            let secret = Secret { prefix: prefix(place), text: Some(text.clone()) };
            let shown = json!({
                "id": id, "workspace_id": self.workspace.as_ref().unwrap().id, "name": name, "description": null,
                "status": "active", "permissions": [], "expires_at": null, "ip_allow": null, "rate": null,
                "metadata": null, "require_signature": false, "signature_replay": "once",
            });
            self.keys.push(HeldKey { id: id.clone(), shown, secrets: vec![secret], last_used_at: None });
        }
        self.note("keys.imported", "keys");
    }

    fn arrange(&mut self, fields: &Value) {
        let workspace = self.workspace.as_mut().unwrap();
        workspace.shown = merged(&workspace.shown, fields);
        let id = workspace.id.clone();
        self.note("workspace.updated", &id);
    }

    fn delete(&mut self) {
        let workspace = self.workspace.take().unwrap();
        for key in std::mem::take(&mut self.keys) {
            if !key.is_revoked() {
                self.ended.extend(key.secrets.into_iter().filter_map(|secret| secret.text));
            }
        }
        self.note("workspace.deleted", &workspace.id);
    }

    fn note_of_key(&mut self, action: &str, key: usize) {
        let id = self.keys[key].id.clone();
        self.note(action, &id);
    }

    fn note(&mut self, action: &str, subject: &str) {
        self.rows.push((action.to_owned(), subject.to_owned()));
    }

    /// Whether the workspace that was about to be made is there. The text of its default key is nobody's.
    async fn find_workspace(&mut self, daemon: &Program, name: &str) {
        let listed = daemon.admin_json(Call::get("/api/v1/workspaces?limit=100")).await;
        let found = listed["data"].as_array().unwrap().iter().find(|found| found["name"] == *name).cloned();
        self.was_made(found.is_some());
        if let Some(found) = found {
            self.begin(&found);
        }
    }

    /// What became of a change of the workspace itself; whether it was made.
    fn decide_about_workspace(
        &mut self,
        held: &HeldWorkspace,
        doubt: Option<&Change>,
        found: &Value,
    ) -> bool {
        let made = match doubt {
            Some(Change::Arrange { fields }) => {
                let made = *found == merged(&held.shown, fields);
                self.was_made(made);
                if made {
                    self.arrange(fields);
                }
                made
            }
            Some(Change::Delete) => {
                let made = found["status"] == "deleted";
                self.was_made(made);
                if made {
                    self.delete();
                }
                made
            }
            _ => false,
        };
        assert!(
            made || *found == held.shown,
            "{self:?}: a workspace is neither as it was nor as it should become: {found}, not {}",
            held.shown
        );
        made
    }

    fn decide_about_key(&mut self, place: usize, doubt: Option<&Change>, found: &Value) {
        let held = self.keys[place].clone();
        let (shown, prefixes) = (stripped(found), prefixes(found));
        let same_secrets = held.secrets.iter().map(|secret| &secret.prefix).eq(&prefixes);
        let same = shown == held.shown && same_secrets;
        let made = match doubt {
            Some(Change::Edit { key, fields }) if *key == place => {
                let made = same_secrets && shown == merged(&held.shown, fields);
                self.was_made(made);
                if made {
                    self.keys[place].shown = shown.clone();
                    self.note_of_key("key.updated", place);
                }
                made
            }
            Some(Change::Rotate { key, overlap_secs }) if *key == place => {
                let older = if *overlap_secs > 0 { &held.secrets[..] } else { &[] };
                let made = shown == held.shown
                    && prefixes.first() != held.secrets.first().map(|secret| &secret.prefix)
                    && prefixes.iter().skip(1).eq(older.iter().map(|secret| &secret.prefix));
                self.was_made(made);
                if made {
                    let secret = Secret { prefix: prefixes[0].clone(), text: None };
                    self.rotate(place, *overlap_secs, secret);
                }
                made
            }
            Some(Change::Revoke { key }) if *key == place => {
                let made = same_secrets && shown == merged(&held.shown, &json!({"status": "revoked"}));
                self.was_made(made);
                if made {
                    self.revoke(place);
                }
                made
            }
            _ => false,
        };
        assert!(
            made || same,
            "{self:?}: a key is neither as it was nor as it should become: {found}, not {}",
            held.shown
        );
        let used_at = found["last_used_at"].as_str().map(str::to_owned);
        assert!(used_at >= held.last_used_at, "{self:?}: a last use moved back: {found}");
        self.keys[place].last_used_at = used_at;
    }

    /// Keys that the model does not know: those of the creation or the import in doubt, all of them or none.
    fn decide_about_new_keys(&mut self, doubt: Option<&Change>, listed: &[Value], made: bool) {
        let named = |name: &str| listed.iter().find(|key| key["name"] == *name);
        let mut known = 0;
        match doubt {
            Some(Change::Create { name, fields }) => {
                let found = named(name);
                self.was_made(found.is_some());
                if let Some(found) = found {
                    let key = HeldKey::read(found, None);
                    assert!(agrees(&key.shown, fields), "{self:?}: a key is made by half: {found}");
                    self.note("key.created", &key.id.clone());
                    self.keys.push(key);
                    known = 1;
                }
            }
            Some(Change::Import { batch }) => {
                let found: Vec<_> = batch.iter().filter_map(|(name, _)| named(name)).collect();
                assert!(
                    found.is_empty() || found.len() == batch.len(),
                    "{self:?}: an import is made by half: {} of {}",
                    found.len(),
                    batch.len()
                );
                self.was_made(!found.is_empty());
                if !found.is_empty() {
                    let ids: Vec<_> = found.iter().map(|key| text(&key["id"])).collect();
                    let found: Vec<_> = found.into_iter().cloned().collect();
                    self.import(batch, &ids, |place| text(&found[place]["prefix"]));
                    known = batch.len();
                }
            }
            // The default key of a workspace: nobody knows its text, and it is an ordinary key.
            _ => {}
        }
        let is_default = |key: &&Value| key["permissions"] == json!(["*:*"]);
        let strangers = listed.len() - known - listed.iter().filter(is_default).count();
        assert!(strangers == 0, "{self:?}, {made}: keys that nobody asked for: {listed:?}");
    }

    fn was_made(&mut self, made: bool) {
        if made {
            self.figures.in_doubt_made += 1;
        } else {
            self.figures.in_doubt_not_made += 1;
        }
    }

    /// Asks about each text that opens a key, and about some that must open none.
    async fn check_verdicts(&mut self, daemon: &Program) {
        let is_active = self.workspace.as_ref().unwrap().shown["status"] == "active";
        let mut connection = Connection::open(daemon.admin).await.unwrap();
        for key in &self.keys {
            let code = match (is_active && !key.is_revoked(), key.may()) {
                (false, _) => "revoked",
                (true, true) => "valid",
                (true, false) => "permission",
            };
            for text in key.secrets.iter().filter_map(|secret| secret.text.as_ref()) {
                let answer = connection.call(&verify(text).bearer(&daemon.admin_key)).await;
                assert_eq!(answer.json()["code"], code, "{self:?}: {}", key.shown);
                self.figures.verdicts += 1;
            }
        }
        let lately = self.ended_checked..self.ended.len();
        let (mut random, all) = (self.random, self.ended.len());
        let old = (0..ENDED_ASKED.min(all)).map(|_| random.below(all));
        for place in lately.chain(old.collect::<Vec<_>>()) {
            let answer = connection.call(&verify(&self.ended[place]).bearer(&daemon.admin_key)).await;
            self.is_refused(&answer);
        }
        self.random = random;
        self.ended_checked = all;
    }

    /// Presents every text that ever ended.
    pub(crate) async fn check_all_ended(&mut self, daemon: &Program) {
        let mut connection = Connection::open(daemon.admin).await.unwrap();
        for place in 0..self.ended.len() {
            let answer = connection.call(&verify(&self.ended[place]).bearer(&daemon.admin_key)).await;
            self.is_refused(&answer);
        }
    }

    fn is_refused(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{self:?}: {answer:?}");
        let code = text(&answer.json()["code"]);
        assert!(code == "unknown" || code == "revoked", "{self:?}: a text that ended is {code}");
        self.figures.verdicts += 1;
        self.figures.ended += 1;
    }
}

impl HeldKey {
    fn read(found: &Value, newest: Option<Hidden>) -> Self {
        let mut texts = std::iter::once(newest).chain(std::iter::repeat(None));
        let secret = |prefix| Secret { prefix, text: texts.next().flatten() };
        Self {
            id: text(&found["id"]),
            shown: stripped(found),
            secrets: prefixes(found).into_iter().map(secret).collect(),
            last_used_at: None,
        }
    }

    fn is_revoked(&self) -> bool {
        self.shown["status"] == "revoked"
    }

    fn may(&self) -> bool {
        self.shown["permissions"].as_array().unwrap().iter().any(|held| *held == PERMISSION)
    }
}

fn is_creation(change: &Change) -> bool {
    matches!(change, Change::Begin { .. } | Change::Create { .. } | Change::Rotate { .. })
}

/// Asks about a text without spending anything.
fn verify(text: &str) -> Call {
    Call::post("/api/v1/verify", &json!({"key": text, "permission": PERMISSION}))
}

/// What is shown of a key, without what uses change, what secrets it has and what time it was.
fn stripped(found: &Value) -> Value {
    let mut shown = found.clone();
    let members = shown.as_object_mut().unwrap();
    for apart in
        ["key", "previous", "prefix", "revoked_at", "last_used_at", "secrets", "imported", "created_at"]
    {
        members.remove(apart);
    }
    shown
}

fn prefixes(found: &Value) -> Vec<String> {
    found["secrets"].as_array().unwrap().iter().map(|secret| text(&secret["prefix"])).collect()
}

/// The document with these members in the place of its own, as a merge patch does it.
fn merged(document: &Value, patch: &Value) -> Value {
    let mut document = document.clone();
    for (name, value) in patch.as_object().unwrap() {
        let member = &mut document[name];
        *member = if value.is_object() && member.is_object() && name == "overrides" {
            merged(member, value)
        } else {
            value.clone()
        };
    }
    document
}

/// Whether the document has all of these members.
fn agrees(document: &Value, fields: &Value) -> bool {
    fields.as_object().unwrap().iter().all(|(name, value)| document[name] == *value)
}
