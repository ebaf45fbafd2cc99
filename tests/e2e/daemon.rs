//! A whole daemon inside the test's process: real sockets on port 0, a real file in a temporary directory, a
//! clock that the test moves and a hash that is cheap.
//!
//! A daemon that was started must be finished, and finishing it checks that it left nothing behind: no
//! listener, no task that still holds the engine, no lock on the file. Keys show themselves in no failure.
//!
//! Never here: an expectation about an answer, but that the set-up of a test works.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyward::app::{LaunchFlags, Running, StartError, launch};
use keyward::clock::{Clock, ManualTime};
use keyward::config::{ConfigFile, Flags, LlmSettings, Settings, resolve, shipped};
use keyward::domain::hash::SlowHashCost;
use keyward::domain::time::Wall;
use serde_json::{Value, json};

pub(crate) use crate::harness::hidden::Hidden;
use crate::wire::{Answer, Call, Connection, PATIENCE, call_once};

/// When every manual clock starts.
pub(crate) const START: &str = "2027-03-10T12:00:00Z";

/// What a daemon is started with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) proof_cache: ProofCache,
    /// The shipped profile that is served; SocialCRM when there is none.
    pub(crate) profile: Option<&'static str>,
    /// What is different in its file: texts, and what stands in their places.
    pub(crate) edits: &'static [(&'static str, &'static str)],
    /// The whole file of a profile of the user's own, in the place of a shipped one; `profile` is its name.
    pub(crate) own_profile: Option<&'static str>,
    /// The upstream's URL, or its table; the sandbox when there is none.
    pub(crate) upstream: Option<&'static str>,
    /// Where the sandbox's language model is, if it has one: the key `models-key`, the model `small`.
    pub(crate) llm: Option<&'static str>,
    /// Whether the profile takes the body form of signatures.
    pub(crate) body_form: bool,
    /// The most signatures remembered; the default's many when left out.
    pub(crate) replays_max: Option<usize>,
    /// Whether fingerprints are stored nowhere.
    pub(crate) fingerprints_in_memory: bool,
    /// Whether the clock is like a machine's, believed only as far as it moves like a clock.
    pub(crate) ticked_clock: bool,
}

impl Options {
    /// The shipped profile with this name, before `upstream` where there is one.
    pub(crate) fn of(profile: &'static str, upstream: Option<&'static str>) -> Self {
        Self { profile: Some(profile), upstream, ..Self::default() }
    }

    fn product(&self) -> &'static str {
        self.profile.unwrap_or("socialcrm")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ProofCache {
    #[default]
    On,
    Off,
}

/// A key that was made: its id, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) text: Hidden,
}

/// A workspace that was made, and its default key.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) id: String,
    pub(crate) default_key: Key,
}

/// A running daemon.
pub(crate) struct Daemon {
    running: Option<Running>,
    time: Arc<ManualTime>,
    clock: Clock,
    pub(crate) options: Options,
    admin_key: Hidden,
    dir: tempfile::TempDir,
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let make_clock = if options.ticked_clock { Clock::ticked_by_hand } else { Clock::manual };
        let (clock, time) = make_clock(Wall::parse(START).unwrap());
        let running = launch(settings(dir.path(), options), clock.clone(), LaunchFlags::default()).await;
        let running = running.unwrap();
        let admin_key = Hidden(std::fs::read_to_string(running.admin_key_file()).unwrap().trim().to_owned());
        Self { running: Some(running), time, clock, options, admin_key, dir }
    }

    /// Stops cleanly, checks that nothing is left, lets `between` have the store's file, and starts again.
    pub(crate) async fn restart_after(&mut self, between: impl FnOnce(&Path)) {
        self.restart_with(LaunchFlags::default(), between).await.unwrap();
    }

    /// The same with flags; a start that is refused leaves the daemon stopped.
    pub(crate) async fn restart_with(
        &mut self,
        flags: LaunchFlags,
        between: impl FnOnce(&Path),
    ) -> Result<(), StartError> {
        if self.running.is_some() {
            self.stop().await;
        }
        between(&self.store_file());
        let started = launch(settings(self.dir.path(), self.options), self.clock.clone(), flags).await;
        self.running = Some(started?);
        Ok(())
    }

    /// Ends a test.
    pub(crate) async fn finish(mut self) {
        self.stop().await;
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        let engine = Arc::downgrade(running.engine());
        let addresses =
            [running.admin(), &running.surfaces()[self.options.product()]].map(|at| at.tcp().unwrap());
        tokio::time::timeout(PATIENCE, running.stop()).await.expect("the daemon stops").unwrap();
        assert!(engine.upgrade().is_none(), "something still holds the engine of a daemon that has stopped");
        for address in addresses {
            assert!(Connection::open(address).await.is_err(), "{address} is open after the stop");
        }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn store_file(&self) -> PathBuf {
        self.dir.path().join("data/keyward.redb")
    }

    /// Where the product is served.
    pub(crate) fn data(&self) -> SocketAddr {
        self.running().surfaces()[self.options.product()].tcp().unwrap()
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.running().admin().tcp().unwrap()
    }

    pub(crate) fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Lets time pass.
    pub(crate) fn advance_micros(&self, micros: u64) {
        self.time.advance_micros(micros);
    }

    /// Sets the machine's clock so many seconds from where manual clocks start.
    pub(crate) fn set_wall(&self, secs: i64) {
        self.time.set_wall(Wall::from_secs(Wall::parse(START).unwrap().secs() + secs));
    }

    /// Lets time pass.
    pub(crate) fn advance_secs(&self, secs: u64) {
        self.time.advance_micros(secs * 1_000_000);
    }

    /// The wall's time in this many seconds, as the API writes it.
    pub(crate) fn in_secs(&self, secs: u64) -> String {
        self.clock.now().wall.plus_micros(secs * 1_000_000).to_rfc3339()
    }

    /// The wall's time now, in whole seconds.
    pub(crate) fn now_secs(&self) -> i64 {
        self.clock.now().wall.secs()
    }

    /// Slow hashes since the start.
    pub(crate) fn slow_hashes(&self) -> u64 {
        self.running().engine().slow_hashes()
    }

    /// A request to SocialCRM over a connection of its own.
    pub(crate) async fn call(&self, call: &Call) -> Answer {
        call_once(self.data(), call).await
    }

    /// An open connection to SocialCRM.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.data()).await.unwrap()
    }

    /// A request to the admin listener without any key.
    pub(crate) async fn admin_bare(&self, call: &Call) -> Answer {
        call_once(self.admin_address(), call).await
    }

    /// A request to the admin listener with the first admin key.
    pub(crate) async fn admin(&self, call: Call) -> Answer {
        self.admin_bare(&call.bearer(&self.admin_key)).await
    }

    /// The same, and what it answers, which must be a success.
    pub(crate) async fn admin_json(&self, call: Call) -> Value {
        let answer = self.admin(call).await;
        assert!((200..300).contains(&answer.status), "{}{}", answer.head, problem(&answer));
        answer.json()
    }

    /// Makes a workspace of the product on `plan`.
    pub(crate) async fn workspace(&self, plan: &str) -> Workspace {
        let wanted = json!({"name": "Acme", "profile": self.options.product(), "plan": plan});
        let made = self.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
        Workspace { id: text(&made["workspace"]["id"]), default_key: key(&made["default_key"]) }
    }

    /// Makes a key; `fields` beside the workspace.
    pub(crate) async fn key(&self, workspace: &Workspace, mut fields: Value) -> Key {
        fields["workspace_id"] = json!(workspace.id);
        key(&self.admin_json(Call::post("/api/v1/keys", &fields)).await)
    }

    /// Makes a key with these permissions.
    pub(crate) async fn key_for(&self, workspace: &Workspace, permissions: &[&str]) -> Key {
        self.key(workspace, json!({"permissions": permissions})).await
    }

    pub(crate) async fn patch_key(&self, key: &Key, fields: Value) -> Value {
        self.admin_json(Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&fields)).await
    }

    pub(crate) async fn patch_workspace(&self, workspace: &Workspace, fields: Value) -> Value {
        self.admin_json(Call::new("PATCH", &format!("/api/v1/workspaces/{}", workspace.id)).json(&fields))
            .await
    }

    pub(crate) async fn show_key(&self, key: &Key) -> Value {
        self.admin_json(Call::get(&format!("/api/v1/keys/{}", key.id))).await
    }

    pub(crate) async fn revoke(&self, key: &Key) {
        self.admin_json(Call::post(&format!("/api/v1/keys/{}/revoke", key.id), &json!({}))).await;
    }

    /// The verify call about `key`, `fields` beside it.
    pub(crate) async fn verify(&self, key: &str, mut fields: Value) -> Value {
        fields["key"] = json!(key);
        self.admin_json(Call::post("/api/v1/verify", &fields)).await
    }

    /// The `ai` meter of a workspace.
    pub(crate) async fn ai_meter(&self, workspace: &Workspace) -> Value {
        self.meter(workspace, "ai").await
    }

    /// A meter of a workspace.
    pub(crate) async fn meter(&self, workspace: &Workspace, name: &str) -> Value {
        let meters = self.admin_json(Call::get(&format!("/api/v1/workspaces/{}/meters", workspace.id))).await;
        meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == name).unwrap().clone()
    }

    /// The positive control: a good key of its own passes on both doors.
    pub(crate) async fn is_well(&self, key: &Key) {
        let rest = self.call(&list_posts(key)).await;
        assert_eq!(rest.status, 200, "{rest:?}");
        let rpc = self.call(&list_tools(key)).await;
        assert!(rpc.status == 200 && rpc.json()["result"]["tools"].is_array(), "{rpc:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        assert!(self.running.is_none() || std::thread::panicking(), "a daemon was started and not finished");
    }
}

/// `GET /v1/posts` with this key.
pub(crate) fn list_posts(key: &Key) -> Call {
    Call::get("/v1/posts").bearer(&key.text)
}

/// `tools/list` with this key.
pub(crate) fn list_tools(key: &Key) -> Call {
    Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).bearer(&key.text)
}

/// `tools/call` with this key.
pub(crate) fn call_tool(key: &Key, name: &str) -> Call {
    let params = json!({"name": name, "arguments": {}});
    Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})).bearer(&key.text)
}

fn settings(dir: &Path, options: Options) -> Settings {
    let proofs_max = match options.proof_cache {
        ProofCache::On => 10_000,
        ProofCache::Off => 0,
    };
    let upstream = options.upstream.unwrap_or("sandbox");
    let upstream = if upstream.starts_with('{') { upstream.to_owned() } else { format!("\"{upstream}\"") };
    let product = options.product();
    let profile = if options.body_form || !options.edits.is_empty() || options.own_profile.is_some() {
        edited_profile(dir, options).to_owned()
    } else {
        format!("name = \"{product}\"")
    };
    let text = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        {profile}
        upstream = {upstream}
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["{product}"]
        [cache]
        proofs_max = {proofs_max}
        [checkpoint]
        interval = "100ms"
        "#
    );
    let file = ConfigFile { origin: "the test's configuration", text: &text, folder: dir };
    let mut settings = resolve(file, [], &Flags::default(), &|path| std::fs::read_to_string(path)).unwrap();
    settings.fingerprints.stored = !options.fingerprints_in_memory;
    // Far below what a configuration may set: these tests are about who runs the hash and when, not about its
    // cost.
    settings.slow_hash.cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap();
    settings.llm = options.llm.map(|url| model_at(dir, url));
    settings.replays_max = options.replays_max.unwrap_or(settings.replays_max);
    settings
}

fn model_at(dir: &Path, url: &str) -> LlmSettings {
    let key_file = dir.join("llm.key");
    if !key_file.exists() {
        keyward::store::private_file::create(&key_file, b"models-key\n").unwrap();
    }
    let wait_max = std::time::Duration::from_secs(20);
    let (url, model) = (url.parse().unwrap(), "small".to_owned());
    LlmSettings { url, model, key_file: Some(key_file), ca_file: None, wait_max }
}

/// The product with the body form of signatures, or with edits, as a file of the user's own.
fn edited_profile(dir: &Path, options: Options) -> &'static str {
    let mut text = options.own_profile.or_else(|| shipped(options.product())).unwrap().to_owned();
    for (old, new) in options.edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    if options.body_form {
        text +=
            "\n[signing]\ntimestamp_header = \"X-MCP-Timestamp\"\nsignature_header = \"X-MCP-Signature\"\n";
    }
    std::fs::write(dir.join("edited.toml"), text).unwrap();
    "file = \"edited.toml\""
}

fn key(made: &Value) -> Key {
    Key { id: text(&made["id"]), text: Hidden(text(&made["key"])) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What a failed set-up may show: never a body that could hold a key.
fn problem(answer: &Answer) -> String {
    if answer.status < 300 { "(hidden)".to_owned() } else { answer.text() }
}
