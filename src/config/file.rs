//! `keyward.toml`, the environment and the flags, resolved into [`Settings`].
//!
//! Reading the file is [`load`]; [`resolve`] is pure but for the profile files that it is given a way to read,
//! and for certificates. What names another thing is checked here, across tables: profiles on listeners, tags,
//! paths, addresses.
//!
//! Never here: a default without its reason, which stands in the template.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::listener;
use super::overlay::{self, Flags};
use super::problem::Problem;
use super::profile::{LoadedProfile, load_profile};
use super::reader::{Field, Report, Section};
use super::sandbox;
use super::settings::{AdminSettings, ProfileSettings, Settings, UpstreamSetting};
use super::shipped::{shipped, shipped_names, system_profile};
use super::tuning;
use super::upstream::upstream;
use crate::domain::address::{ADDRESS_RULES_MAX, AddressRules};
use crate::domain::profile::{Profile, RpcDoor, SYSTEM_PROFILE};
use crate::gateway::ServerAddress;
use crate::http::ListenAddress;
use crate::http::forwarded::TrustedProxies;

/// The most profiles of one daemon.
pub(super) const PROFILES_MAX: usize = 64;

const ADMIN_PORT: u16 = 8089;
/// Whoever connects to a unix socket, among the proxies.
const UNIX_PEERS: &str = "unix";

/// A configuration file that was read.
#[derive(Clone, Copy, Debug)]
pub struct ConfigFile<'a> {
    /// What problems call it.
    pub origin: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The folder that its paths are relative to.
    pub folder: &'a Path,
}

/// Loads the file at `path` and everything that stands over it, or tells every problem.
pub fn load(path: &Path, flags: &Flags) -> Result<Settings, Vec<Problem>> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| vec![unreadable(&origin, &error)])?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = ConfigFile { origin: &origin, text: &text, folder };
    resolve(file, overlay::environment(), flags, &|path| std::fs::read_to_string(path))
}

/// Resolves a file, an environment and flags. `read` reads a profile's file.
pub fn resolve(
    file: ConfigFile<'_>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Settings, Vec<Problem>> {
    let (overrides, unknown) = overlay::overrides(environment, flags);
    let report = Report::new(file.origin, file.text, &overrides);
    for problem in unknown {
        report.push(problem);
    }
    let table = report.parse();
    let settings = table.as_ref().and_then(|table| {
        let reading = Reading { report: &report, folder: file.folder, read };
        reading.settings(&Section::root(&report, table))
    });
    let problems = report.finish();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems),
    }
}

/// The commented file that `keyward init` writes.
pub fn template() -> String {
    include_str!("keyward.toml").to_owned()
}

fn unreadable(origin: &str, error: &io::Error) -> Problem {
    let message = format!("cannot be read: {}", error.kind());
    Problem { origin: origin.to_owned(), line: None, path: String::new(), message }
}

struct Reading<'a> {
    report: &'a Report<'a>,
    folder: &'a Path,
    read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Reading<'_> {
    fn settings(&self, root: &Section<'_>) -> Option<Settings> {
        let data_dir = root.required("data_dir").and_then(|field| self.path(&field));
        let trusted_proxies = root.field("trusted_proxies").map(|field| proxies(&field));
        let admin = self.admin(&root.section("admin"));
        let profiles = self.profiles(root);
        let listeners = listener::listeners(root, &profiles, &|field| self.path(field));
        let cache = tuning::cache(&root.section("cache"));
        let checkpoint_interval = tuning::checkpoint(&root.section("checkpoint"));
        let keyless_rate = tuning::keyless(&root.section("keyless"));
        let slow_hash = tuning::slow_hash(&root.section("slow_hash"));
        let replays_max = tuning::signing(&root.section("signing"));
        let fingerprints = tuning::fingerprints(&root.section("fingerprints"));
        let llm = sandbox::llm(&root.section("sandbox"), &|field| self.path(field));
        let log = tuning::log(&root.section("log"));
        root.close();
        let settings = Settings {
            data_dir: data_dir?,
            trusted_proxies: trusted_proxies.unwrap_or_default(),
            admin: admin?,
            profiles: profiles.into_iter().collect::<Option<_>>()?,
            listeners,
            cache: cache?,
            checkpoint_interval: checkpoint_interval?,
            keyless_rate: keyless_rate?,
            slow_hash: slow_hash?,
            replays_max: replays_max?,
            fingerprints: fingerprints?,
            llm: llm.ok()?,
            log: log?,
        };
        check_addresses(root, &settings);
        Some(settings)
    }

    fn admin(&self, section: &Section<'_>) -> Option<AdminSettings> {
        let default = || Some(ListenAddress::Tcp((Ipv4Addr::LOCALHOST, ADMIN_PORT).into()));
        let listen = section.field("listen").map_or_else(default, |field| listener::address(&field));
        let mode = listener::mode(section, listen.as_ref());
        let default_key_file = || Some(self.folder.join("admin.key"));
        let key_file = section.field("key_file").map_or_else(default_key_file, |field| self.path(&field));
        let hosts = listener::hosts(section, listen.as_ref());
        section.close();
        Some(AdminSettings { listen: listen?, mode: mode?, key_file: key_file?, hosts })
    }

    /// The profiles in their order; `None` for one that has problems, so that the places of the others stay.
    fn profiles(&self, root: &Section<'_>) -> Vec<Option<ProfileSettings>> {
        let mut profiles: Vec<Option<ProfileSettings>> = Vec::new();
        for section in root.sections("profile", PROFILES_MAX) {
            let profile = self.profile(&section);
            if let Some(new) = &profile {
                check_distinct(&section, &new.loaded.profile, profiles.iter().flatten());
            }
            profiles.push(profile);
        }
        if profiles.is_empty() {
            root.problem("expected at least one [[profile]]");
        }
        profiles
    }

    fn profile(&self, section: &Section<'_>) -> Option<ProfileSettings> {
        let name = section.field("name");
        let file = section.field("file");
        let upstream =
            section.required("upstream").and_then(|field| upstream(&field, |field| self.path(field)));
        let asserts = section.field("assertion").and_then(|field| field.boolean());
        section.close();
        let loaded = match (name, file) {
            (Some(name), None) => {
                let known = shipped_names().collect::<Vec<_>>().join(", ");
                let text =
                    name.parsed(&format!("a shipped profile, one of: {known}; or file = "), shipped)?;
                self.loaded(text, &format!("shipped profile {}", name.text()?))
            }
            (None, Some(file)) => {
                let path = self.path(&file)?;
                match (self.read)(&path) {
                    Ok(text) => self.loaded(&text, &path.display().to_string()),
                    Err(error) => file.refused(&format!("cannot be read: {}", error.kind())),
                }
            }
            (Some(_), Some(_)) => {
                section.problem("expected name or file, not both");
                None
            }
            (None, None) => {
                section.problem("expected name (a shipped profile) or file");
                None
            }
        };
        let upstream = upstream?;
        // The sandbox lives in this process, so there is nobody to doubt; a command sees no headers. Who asks and
        // forwards by itself has this very answer.
        let asserts = asserts.unwrap_or(matches!(upstream, UpstreamSetting::Server(_)));
        let loaded = loaded?;
        if matches!(upstream, UpstreamSetting::Command(_)) && loaded.profile.rest.is_some() {
            section.problem("a command speaks MCP alone, and this profile has a [rest] door: give it a url");
        }
        if upstream == UpstreamSetting::None
            && loaded.profile.rpc.as_ref().is_some_and(RpcDoor::may_ask_for_class)
        {
            section.problem(
                "with upstream \"none\" nobody can be asked what a tool does: give each [[rpc.tool_pattern]] a permission in \
                 place of its resource",
            );
        }
        Some(ProfileSettings { loaded, upstream, asserts })
    }

    fn loaded(&self, text: &str, origin: &str) -> Option<LoadedProfile> {
        match load_profile(text, origin) {
            Ok(loaded) => Some(loaded),
            Err(problems) => {
                for problem in problems {
                    self.report.push(problem);
                }
                None
            }
        }
    }

    /// A path of the file is relative to the file's folder; one of a variable or flag to where the process
    /// runs.
    fn path(&self, field: &Field<'_>) -> Option<PathBuf> {
        let form = "a path: not empty, without control characters";
        let text = field
            .parsed(form, |text| (!text.is_empty() && !text.contains(char::is_control)).then_some(text))?;
        Some(if field.is_given() { PathBuf::from(text) } else { self.folder.join(text) })
    }
}

fn check_distinct<'p>(
    section: &Section<'_>,
    new: &Profile,
    others: impl Iterator<Item = &'p ProfileSettings>,
) {
    if new.name == SYSTEM_PROFILE {
        section.problem(&format!("the name {SYSTEM_PROFILE} is Keyward's own"));
    }
    if new.tag == system_profile().tag {
        section.problem("this tag is that of admin keys");
    }
    for other in others.map(|other| &other.loaded.profile) {
        if other.name == new.name {
            section.problem(&format!("the profile {} is given twice", new.name));
        } else if other.tag == new.tag {
            section.problem(&format!("{} and {} have the same tag", other.name, new.name));
        }
    }
}

/// The admin API has a socket of its own, and an upstream that is one of ours would be a loop or a way to the
/// admin API.
fn check_addresses(root: &Section<'_>, settings: &Settings) {
    let admin = &settings.admin.listen;
    let listeners = settings.listeners.iter().map(|listener| &listener.listen);
    let ours: Vec<_> = listeners.chain([admin]).collect();
    if admin.is_fixed() && ours.iter().filter(|address| **address == admin).count() > 1 {
        root.problem(&format!(
            "two listeners have the address {admin}, and the admin API has one of its own"
        ));
    }
    for profile in &settings.profiles {
        let UpstreamSetting::Server(server) = &profile.upstream else { continue };
        let is_ours = match &server.address {
            ServerAddress::Unix(path) => ours.contains(&&ListenAddress::Unix(path.clone())),
            tcp => tcp
                .host_and_port()
                .is_some_and(|theirs| ours.iter().filter_map(|our| our.tcp()).any(|our| is_at(our, theirs))),
        };
        if is_ours {
            let name = &profile.loaded.profile.name;
            root.problem(&format!("the upstream of {name} is one of our own listeners"));
        }
    }
}

/// Whether a host and port lead to a listener. One on every address is on this machine's own in any case, and
/// so is one on a loopback address for who asks no address in particular, or one by name.
fn is_at(ours: SocketAddr, (host, port): (&str, u16)) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let named = if host.eq_ignore_ascii_case("localhost") { Some(loopback) } else { literal.parse().ok() };
    let (listen, Some(address)) = (ours.ip().to_canonical(), named.map(|address| address.to_canonical()))
    else {
        return false;
    };
    let is_local = address.is_loopback() || address.is_unspecified();
    let is_any_local = address.is_unspecified() || literal.parse::<IpAddr>().is_err();
    let leads_here =
        listen == address || (is_local && listen.is_unspecified()) || (is_any_local && listen.is_loopback());
    ours.port() == port && leads_here
}

fn proxies(field: &Field<'_>) -> TrustedProxies {
    let rule = |item: &Field<'_>| {
        let text = item.text()?;
        let form =
            "an address, a network such as 10.0.0.0/8, or unix for whoever connects to our unix sockets";
        item.parsed(form, |text| (text == UNIX_PEERS || AddressRules::parse([text]).is_ok()).then_some(()))?;
        Some(text.to_owned())
    };
    let (unix, rules): (Vec<_>, Vec<_>) =
        field.items(ADDRESS_RULES_MAX).iter().filter_map(rule).partition(|text| text == UNIX_PEERS);
    // No rules is nobody; what could not be read has told so.
    let addresses = AddressRules::parse(rules.iter().map(String::as_str)).ok();
    TrustedProxies { addresses, unix: !unix.is_empty() }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(in crate::config) const LEAST: &str = r#"
data_dir = "data"
[[profile]]
name = "socialcrm"
upstream = "sandbox"
[[listener]]
listen = "127.0.0.1:8080"
profiles = ["socialcrm"]
"#;

    /// A product of which a tool asks what it says that it does.
    const BY_CLASS: &str = r#"
name = "notes"
tag = "nt_"
[[permission]]
name = "notes:read"
[[permission]]
name = "notes:write"
[[permission]]
name = "notes:delete"
[[plan]]
name = "free"
[rpc]
endpoint = "/notes"
words = "standard"
methods = ["tools/list"]
[[rpc.tool_pattern]]
match = "note*"
resource = "notes"
"#;

    pub(in crate::config) fn resolved(
        text: &str,
        environment: &[(&str, &str)],
        flags: &Flags,
    ) -> Result<Settings, Vec<String>> {
        let file = ConfigFile { origin: "keyward.toml", text, folder: Path::new("/etc/keyward") };
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = |path: &Path| match path.to_str() {
            Some("/etc/keyward/my-product.toml") => Ok(shipped("socialcrm")
                .unwrap_or_default()
                .replacen("name = \"socialcrm\"", "name = \"my-product\"", 1)
                .replacen("sk_live_", "sk_other_", 1)),
            Some("/etc/keyward/by-class.toml") => Ok(BY_CLASS.to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        resolve(file, environment, flags, &read)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    pub(in crate::config) fn refused(text: &str, told: &str) {
        let problems = resolved(text, &[], &Flags::default()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(told)), "{problems:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::settings::{LogFormat, LogLevel};
    use super::samples::{LEAST, refused, resolved};
    use super::*;
    use crate::domain::hash::SlowHashCost;

    #[test]
    fn an_upstream_is_told_of_callers_in_a_form_to_check_unless_it_is_ours_or_says_no() {
        let asserts = |upstream: &str| {
            let text = LEAST.replace("upstream = \"sandbox\"", upstream);
            resolved(&text, &[], &Flags::default()).unwrap().profiles[0].asserts
        };
        assert!(!asserts("upstream = \"sandbox\""));
        assert!(asserts("upstream = \"sandbox\"\nassertion = true"));
        assert!(asserts("upstream = \"http://127.0.0.1:3000\""));
        assert!(!asserts("upstream = \"http://127.0.0.1:3000\"\nassertion = false"));
        refused(&LEAST.replace("\"sandbox\"", "\"sandbox\"\nassertion = 1"), "expected true or false");
    }

    #[test]
    fn the_template_loads_and_says_the_defaults() {
        let template = resolved(&template(), &[], &Flags::default()).unwrap();
        let uncommented: String = super::template()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") && !setting.contains("; ") => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let spelt_out = resolved(&uncommented, &[], &Flags::default()).unwrap();
        let least = resolved(LEAST, &[], &Flags::default()).unwrap();
        for settings in [&template, &spelt_out] {
            assert_eq!(settings.data_dir, least.data_dir);
            assert_eq!(settings.admin, least.admin);
            assert_eq!(settings.listeners, least.listeners);
            assert_eq!(settings.cache, least.cache);
            assert_eq!(settings.checkpoint_interval, least.checkpoint_interval);
            assert_eq!(settings.keyless_rate, least.keyless_rate);
            assert_eq!(settings.slow_hash, least.slow_hash);
            assert_eq!(settings.replays_max, least.replays_max);
            assert_eq!(settings.fingerprints, least.fingerprints);
            assert_eq!(settings.log, least.log);
        }
        assert_eq!(uncommented.matches("\n# memory_kib").count(), 0, "the defaults were spelt out");
    }

    #[test]
    fn the_example_of_the_documentation_loads() {
        let page = include_str!("../../docs/configuration.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(example.contains("[[listener]]"));
        let settings = resolved(example, &[], &Flags::default()).unwrap();
        assert_eq!(settings.profiles.len(), 2);
    }

    #[test]
    fn every_setting_and_its_variable_is_documented() {
        let page = include_str!("../../docs/configuration.md");
        for path in overlay::PATHS {
            assert!(page.contains(&format!("`{path}`")), "{path}");
        }
    }

    #[test]
    fn defaults_are_overlaid_by_file_environment_and_flags_in_this_order() {
        let text = format!("{LEAST}\n[admin]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n");
        let none = Flags::default();
        let flags = Flags { admin_listen: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
        let environment = [("KEYWARD_ADMIN_LISTEN", "127.0.0.1:2"), ("OTHER", "x")];
        assert_eq!(resolved(LEAST, &[], &none).unwrap().admin.listen.tcp().unwrap().port(), 8089);
        assert_eq!(resolved(&text, &[], &none).unwrap().admin.listen.tcp().unwrap().port(), 1);
        assert_eq!(resolved(&text, &environment, &none).unwrap().admin.listen.tcp().unwrap().port(), 2);
        let settings = resolved(&text, &environment, &flags).unwrap();
        assert_eq!((settings.admin.listen.tcp().unwrap().port(), settings.log.level), (3, LogLevel::Warn));
    }

    #[test]
    fn every_variable_is_read() {
        let text = LEAST.replace("data_dir = \"data\"\n", "");
        let good = [
            ("KEYWARD_DATA_DIR", "/srv"),
            ("KEYWARD_TRUSTED_PROXIES", "10.0.0.0/8, unix, 127.0.0.1"),
            ("KEYWARD_ADMIN_LISTEN", "unix:/run/a"),
            ("KEYWARD_ADMIN_MODE", "0660"),
            ("KEYWARD_ADMIN_KEY_FILE", "key"),
            ("KEYWARD_ADMIN_HOSTS", "Admin.example:9"),
            ("KEYWARD_CACHE_PROOFS_MAX", "0"),
            ("KEYWARD_CACHE_STORE_BYTES", "2MiB"),
            ("KEYWARD_CHECKPOINT_INTERVAL", "250ms"),
            ("KEYWARD_SLOW_HASH_MEMORY_KIB", "65536"),
            ("KEYWARD_SLOW_HASH_PASSES", "3"),
            ("KEYWARD_SLOW_HASH_QUEUE_MAX", "9"),
            ("KEYWARD_SLOW_HASH_WORKERS", "4"),
            ("KEYWARD_SIGNING_REPLAYS_MAX", "2000"),
            ("KEYWARD_FINGERPRINTS_STORED", "false"),
            ("KEYWARD_SANDBOX_LLM_URL", "http://[::1]:1/v1"),
            ("KEYWARD_SANDBOX_LLM_MODEL", "small"),
            ("KEYWARD_SANDBOX_LLM_KEY_FILE", "llm.key"),
            ("KEYWARD_SANDBOX_LLM_CA_FILE", "ca.pem"),
            ("KEYWARD_SANDBOX_LLM_WAIT_MAX", "9s"),
            ("KEYWARD_LOG_FORMAT", "json"),
            ("KEYWARD_LOG_LEVEL", "debug"),
        ];
        assert_eq!(good.map(|(name, _)| name.to_owned()), overlay::PATHS.map(overlay::variable));
        let settings = resolved(&text, &good, &Flags::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new("/srv"));
        let trusted = &settings.trusted_proxies;
        assert!(trusted.addresses.as_ref().unwrap().admit(Some("10.9.9.9".parse().unwrap())) && trusted.unix);
        assert_eq!((settings.admin.listen.to_string().as_str(), settings.admin.mode), ("unix:/run/a", 0o660));
        assert_eq!(settings.admin.key_file, Path::new("key"));
        assert_eq!(settings.admin.hosts, ["admin.example:9"]);
        assert_eq!((settings.cache.proofs_max, settings.cache.store_bytes), (0, 2 << 20));
        assert_eq!(settings.checkpoint_interval, Duration::from_millis(250));
        assert_eq!(Some(settings.slow_hash.cost), SlowHashCost::new(65_536, 3));
        assert_eq!((settings.slow_hash.queue_max, settings.slow_hash.workers), (9, 4));
        assert_eq!(settings.replays_max, 2_000);
        let llm = settings.llm.unwrap();
        assert_eq!((llm.url.to_string().as_str(), llm.model.as_str()), ("http://[::1]:1/v1", "small"));
        assert_eq!((llm.key_file.unwrap(), llm.ca_file.unwrap()), ("llm.key".into(), "ca.pem".into()));
        assert_eq!(llm.wait_max, Duration::from_secs(9));
        assert!(
            !settings.fingerprints.stored
                && resolved(LEAST, &[], &Flags::default()).unwrap().fingerprints.stored
        );
        assert_eq!((settings.log.format, settings.log.level), (LogFormat::Json, LogLevel::Debug));
        for (name, _) in good {
            let problems = resolved(LEAST, &[(name, "\u{1}")], &Flags::default()).unwrap_err();
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
        }
    }

    #[test]
    fn an_unknown_variable_is_a_problem() {
        let problems = resolved(LEAST, &[("KEYWARD_ADMIN_PORT", "1")], &Flags::default()).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with("KEYWARD_ADMIN_PORT: unknown"),
            "{problems:?}"
        );
    }

    #[test]
    fn paths_of_the_file_are_relative_to_it_and_those_of_flags_to_the_process() {
        let settings = resolved(LEAST, &[], &Flags::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new("/etc/keyward/data"));
        assert_eq!(settings.admin.key_file, Path::new("/etc/keyward/admin.key"));
        let flags = Flags { data_dir: Some("here".to_owned()), ..Flags::default() };
        assert_eq!(resolved(LEAST, &[], &flags).unwrap().data_dir, Path::new("here"));
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line_and_range() {
        let text = LEAST.replace("127.0.0.1:8080", "localhost:8080").replace("\"sandbox\"", "\"ftp://x\"")
            + "colour = 1\n[checkpoint]\ninterval = \"50ms\"\n[slow_hash]\nmemory_kib = 65537\n[log]\nformat = \"xml\"\n";
        let problems = resolved(&text, &[("KEYWARD_CACHE_PROOFS_MAX", "-1")], &Flags::default()).unwrap_err();
        assert_eq!(
            problems,
            [
                "KEYWARD_CACHE_PROOFS_MAX: cache.proofs_max: expected a whole number from 0 to 10000000",
                "keyward.toml:5: profile[0].upstream: expected \"sandbox\", \"none\", \"http://HOST:PORT\", \"https://HOST:PORT\", \"unix:/PATH\", or a table with one of the last three as its url, or with a command; here: http://HOST:PORT, https://HOST:PORT or unix:/PATH",
                "keyward.toml:7: listener[0].listen: expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or unix: and an absolute path of at most 100 bytes, such as unix:/run/keyward/api.sock",
                "keyward.toml:9: listener[0].colour: unknown; known here: listen, mode, tls, hosts, profiles",
                "keyward.toml:11: checkpoint.interval: expected a duration from 100ms to 60s, such as \"1s\"",
                "keyward.toml:13: slow_hash.memory_kib: expected a whole number from 19456 to 65536",
                "keyward.toml:15: log.format: expected human or json",
            ]
        );
    }

    #[test]
    fn a_profile_is_shipped_or_a_file_and_distinct() {
        let second =
            |text: &str| format!("{LEAST}[[profile]]\nupstream = \"http://127.0.0.1:3000\"\n{text}\n");
        let settings = resolved(&second("file = \"my-product.toml\""), &[], &Flags::default()).unwrap();
        assert_eq!(settings.profiles[1].loaded.profile.name, "my-product");
        let UpstreamSetting::Server(server) = &settings.profiles[1].upstream else { panic!() };
        assert_eq!(server.address.host_and_port(), Some(("127.0.0.1", 3000)));
        refused(&second("name = \"socialcrm\""), "the profile socialcrm is given twice");
        refused(&second("name = \"nosuch\""), "expected a shipped profile, one of: socialcrm");
        refused(&second("file = \"absent.toml\""), "profile[1].file: cannot be read: entity not found");
        refused(&second("name = \"socialcrm\"\nfile = \"my-product.toml\""), "name or file, not both");
        refused(&second(""), "expected name (a shipped profile) or file");
    }

    #[test]
    fn two_profiles_cannot_share_a_tag_or_a_path_of_one_listener() {
        let two = format!("{LEAST}[[profile]]\nfile = \"my-product.toml\"\nupstream = \"sandbox\"\n")
            .replace("profiles = [\"socialcrm\"]", "profiles = [\"socialcrm\", \"my-product\"]");
        refused(&two, "keyward.toml:8: listener[0].profiles[1]: its path /v1 overlaps /v1 of socialcrm");
        let report = Report::new("t", "", &[]);
        let table = report.parse().unwrap();
        let new = load_profile(&shipped("socialcrm").unwrap().replacen("socialcrm", "x", 9), "x").unwrap();
        let known = resolved(LEAST, &[], &Flags::default()).unwrap();
        let renamed = Profile { name: "y".to_owned(), ..std::sync::Arc::into_inner(new.profile).unwrap() };
        check_distinct(&Section::root(&report, &table), &renamed, known.profiles.iter());
        assert!(report.finish()[0].message.contains("same tag"));
    }
}
