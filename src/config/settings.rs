//! The configuration of one daemon, resolved: what every room is built from, in plain values.
//!
//! Settings that came out of this room are whole: every name resolves, no two profiles claim one tag or, on
//! one listener, one path, and nothing that is reachable from outside serves every host.
//!
//! Never here: reading. And no room sees the whole of it; `app` hands each its own part.

use std::path::PathBuf;
use std::time::Duration;

use super::command::CommandSetting;
use super::profile::LoadedProfile;
use crate::domain::hash::SlowHashCost;
use crate::domain::rate::Rate;
use crate::gateway::UpstreamServer;
use crate::http::ListenAddress;
use crate::http::forwarded::TrustedProxies;
use crate::http::tls::CertificateFiles;

/// One daemon's configuration.
#[derive(Debug)]
pub struct Settings {
    /// Where the redb files and the install secret lie.
    pub data_dir: PathBuf,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The admin listener.
    pub admin: AdminSettings,
    /// The products; at least one.
    pub profiles: Vec<ProfileSettings>,
    /// The data listeners.
    pub listeners: Vec<ListenerSettings>,
    /// What is kept in memory.
    pub cache: CacheSettings,
    /// Between two checkpoints: 100 ms to 60 s. A crash loses what was counted in it but metered units, which are
    /// reserved ahead of their use.
    pub checkpoint_interval: Duration,
    /// The rate of callers without a key from one address.
    pub keyless_rate: Rate,
    /// The slow hash.
    pub slow_hash: SlowHashSettings,
    /// Signatures that are remembered until they leave their window: 1,000 to 100,000,000.
    pub replays_max: usize,
    /// What is stored of fingerprints.
    pub fingerprints: FingerprintSettings,
    /// The language model that answers in the sandbox's place, if any.
    pub llm: Option<LlmSettings>,
    /// The log.
    pub log: LogSettings,
}

/// The admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminSettings {
    /// Where it listens; port 0 is any free one.
    pub listen: ListenAddress,
    /// The mode of its file, when it is a unix socket.
    pub mode: u32,
    /// The first admin key's own file.
    pub key_file: PathBuf,
    /// Hosts it serves, in lower case; empty, on loopback only, is this machine's own names and the
    /// listener's address.
    pub hosts: Vec<String>,
}

/// One product of this daemon.
#[derive(Debug)]
pub struct ProfileSettings {
    /// The product and its dialects.
    pub loaded: LoadedProfile,
    /// What stands behind its gate.
    pub upstream: UpstreamSetting,
    /// Whether that is told of callers in a form that it can check.
    pub asserts: bool,
}

/// What stands behind a gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpstreamSetting {
    /// The built-in one.
    Sandbox,
    /// A server, and how it is spoken to.
    Server(Box<UpstreamServer>),
    /// A command that is started.
    Command(Box<CommandSetting>),
    /// Nobody: what passes is answered, and forwarded by whoever asked.
    None,
}

/// One data listener, or one virtual host of several with the same `listen`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Where it listens; port 0 is any free one, and never another listener's.
    pub listen: ListenAddress,
    /// The mode of its file, when it is a unix socket; one for all with the same `listen`.
    pub mode: u32,
    /// What it says it is, where it speaks TLS; all with the same `listen` do, or none.
    pub tls: Option<CertificateFiles>,
    /// Hosts it serves, in lower case; empty is any, on this machine and for one alone at its `listen` only.
    pub hosts: Vec<String>,
    /// The products it serves, as places in [`Settings::profiles`]; at least one.
    pub profiles: Vec<usize>,
}

/// What is kept in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheSettings {
    /// Proofs, all together; 0 is no cache.
    pub proofs_max: usize,
    /// Bytes of the store's own cache: 1 MiB to 64 GiB.
    pub store_bytes: u64,
}

/// The slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowHashSettings {
    /// What a new hash costs.
    pub cost: SlowHashCost,
    /// Hashes that may wait: 1 to 4,096.
    pub queue_max: usize,
    /// Hashes at a time: 1 to 64, and fewer on a machine that would have no core left.
    pub workers: usize,
}

/// What is stored of fingerprints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FingerprintSettings {
    /// Whether they are stored with their keys, or kept in memory alone.
    pub stored: bool,
}

/// A language model behind the sandbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LlmSettings {
    /// Where its API begins: `http://` or `https://`, no user, no query.
    pub url: http::Uri,
    /// The model that is asked.
    pub model: String,
    /// The file of the server's key.
    pub key_file: Option<PathBuf>,
    /// The file of the authorities that are believed; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for an answer: 1 s to 10 min.
    pub wait_max: Duration,
}

/// The log on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// Its form.
    pub format: LogFormat,
    /// The least that is written.
    pub level: LogLevel,
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The least that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What looks wrong.
    Warn,
    /// What happened.
    Info,
    /// What it went through.
    Debug,
    /// Everything.
    Trace,
}
