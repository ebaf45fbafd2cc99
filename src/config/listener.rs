//! The sockets of a daemon: where each listens, whom it serves and which products.
//!
//! Profiles on one listener never claim overlapping paths, and a listener that is reachable from outside
//! names its hosts.
//!
//! Never here: opening a socket.

use std::path::PathBuf;

use super::file::PROFILES_MAX;
use super::profile::name_of;
use super::reader::{Field, Section};
use super::route::overlap;
use super::settings::{ListenerSettings, ProfileSettings};
use crate::domain::profile::{CATALOGUE_PATH, Profile, RpcDoor};
use crate::http::ListenAddress;
use crate::http::tls::CertificateFiles;

/// The most listeners of one daemon.
const LISTENERS_MAX: usize = 64;
/// The most hosts of one listener.
const HOSTS_MAX: usize = 64;
/// The mode of a unix socket: its owner alone, since whoever can write to it can call.
const UNIX_MODE: u32 = 0o600;
/// What a unix socket's mode may hold; the owner's part it must.
const MODE_BITS: u32 = 0o666;

/// Makes a path out of a field.
pub(super) type PathOf<'a> = &'a dyn Fn(&Field<'_>) -> Option<PathBuf>;

/// The data listeners; `profiles` are those of the same file, in its order.
pub(super) fn listeners(
    root: &Section<'_>,
    profiles: &[Option<ProfileSettings>],
    path_of: PathOf<'_>,
) -> Vec<ListenerSettings> {
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    for section in root.sections("listener", LISTENERS_MAX) {
        if let Some(new) = listener(&section, profiles, path_of) {
            let is_fixed = new.listen.is_fixed();
            let shared = listeners.iter().filter(|other| is_fixed && other.listen == new.listen);
            for other in shared {
                check_shared(&section, &new, other);
            }
            listeners.push(new);
        }
    }
    listeners
}

/// Two that share a socket are told apart by their hosts, and in nothing else before a host is known.
fn check_shared(section: &Section<'_>, new: &ListenerSettings, other: &ListenerSettings) {
    let listen = &new.listen;
    if new.hosts.is_empty() || other.hosts.is_empty() {
        section.problem(&format!(
            "another listener has the address {listen}: each of them needs `hosts`, by which they are told apart"
        ));
    }
    let is_same = |host: &str, other: &str| {
        let name = |host: &str| split_port(host).map_or(host.to_owned(), |(name, _)| name.to_owned());
        let has_ports = split_port(host).is_some() && split_port(other).is_some();
        if has_ports { host == other } else { name(host) == name(other) }
    };
    for host in new.hosts.iter().filter(|host| other.hosts.iter().any(|other| is_same(host, other))) {
        section.problem(&format!("another listener at {listen} serves the host {host}"));
    }
    if new.tls.is_some() != other.tls.is_some() {
        section.problem(&format!(
            "another listener at {listen} differs in `tls`: all of them speak it, or none"
        ));
    }
    if new.mode != other.mode {
        section.problem(&format!("another listener at {listen} has another `mode`"));
    }
}

/// A host and its port, when it has one.
fn split_port(host: &str) -> Option<(&str, &str)> {
    host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn listener(
    section: &Section<'_>,
    profiles: &[Option<ProfileSettings>],
    path_of: PathOf<'_>,
) -> Option<ListenerSettings> {
    let listen = section.required("listen").and_then(|field| address(&field));
    let mode = mode(section, listen.as_ref());
    let tls = tls(section, listen.as_ref(), path_of);
    let hosts = hosts(section, listen.as_ref());
    let named = section.required("profiles").map(|field| field.items(PROFILES_MAX)).unwrap_or_default();
    section.close();
    if named.is_empty() {
        section.problem("expected at least one profile");
    }
    let mut served: Vec<usize> = Vec::new();
    for field in &named {
        let Some(name) = name_of(field) else { continue };
        let is_named = |profile: &&Option<ProfileSettings>| {
            profile.as_ref().is_some_and(|settings| settings.loaded.profile.name == name)
        };
        let Some(place) = profiles.iter().position(|profile| is_named(&profile)) else {
            // A profile that did not load has told its own problems.
            if profiles.iter().all(Option::is_some) {
                field.problem("expected the name of a [[profile]] of this file");
            }
            continue;
        };
        let of = |place: usize| profiles.get(place)?.as_ref().map(|settings| &*settings.loaded.profile);
        if served.contains(&place) {
            field.problem("given twice");
        } else if let Some(profile) = of(place) {
            check_paths(field, profile, served.iter().filter_map(|place| of(*place)));
            served.push(place);
            check_told(field, profile, &served.iter().filter_map(|place| of(*place)).collect::<Vec<_>>());
        }
    }
    Some(ListenerSettings { listen: listen?, mode: mode?, tls: tls?, hosts, profiles: served })
}

/// Whether a profile has doors, and paths that no other on this listener claims.
fn check_paths<'p>(field: &Field<'_>, profile: &Profile, others: impl Iterator<Item = &'p Profile>) {
    let own = paths(profile);
    if own.is_empty() {
        field.problem("this profile has no door to serve: neither [rest] nor [rpc]");
    }
    for other in others {
        for theirs in paths(other) {
            if let Some(path) = own.iter().find(|path| overlap(path, theirs)) {
                field.problem(&format!("its path {path} overlaps {theirs} of {}", other.name));
            }
        }
    }
}

/// Whether no path of a profile hides what the JSON-RPC doors of its listener tell of themselves, nor the other way
/// round. `served` are the listener's profiles so far, this one among them.
fn check_told(field: &Field<'_>, profile: &Profile, served: &[&Profile]) {
    let pairs = served.iter().flat_map(|other| [(*other, profile), (profile, *other)]);
    for (teller, claimer) in pairs {
        let hidden = teller.rpc.as_ref().and_then(|door| claims(claimer, door));
        if let Some(path) = hidden {
            field.problem(&format!(
                "the path {path} of {} is where {} tells what it is, or that there is no OAuth",
                claimer.name, teller.name
            ));
            break;
        }
    }
}

/// A path of a profile at which a JSON-RPC door tells of itself. What the profile opens to everyone is its own.
fn claims<'p>(profile: &'p Profile, door: &RpcDoor) -> Option<&'p str> {
    let base = profile.rest.as_ref().map(|rest| rest.base.as_str());
    let told = [door.card_path(), CATALOGUE_PATH.to_owned()];
    let is_hidden =
        |base: &&str| told.iter().any(|told| overlap(told, base)) || door.describes(base).is_some();
    let rpc = profile.rpc.iter().flat_map(|own| std::iter::once(&own.endpoint).chain(&own.sse));
    let own = rpc.map(String::as_str).find(|path| door.describes(path).is_some());
    own.or_else(|| base.filter(is_hidden))
}

fn paths(profile: &Profile) -> Vec<&str> {
    let rest = profile.rest.iter().map(|door| door.base.as_str());
    let rpc = profile
        .rpc
        .iter()
        .flat_map(|door| std::iter::once(&door.endpoint).chain(&door.sse).chain(&door.public_paths));
    rest.chain(rpc.map(String::as_str)).collect()
}

/// An address and a port, or a unix socket.
pub(super) fn address(field: &Field<'_>) -> Option<ListenAddress> {
    field.parsed(ListenAddress::FORM, ListenAddress::parse)
}

/// The mode of a unix socket's file.
pub(super) fn mode(section: &Section<'_>, listen: Option<&ListenAddress>) -> Option<u32> {
    let Some(field) = section.field("mode") else { return Some(UNIX_MODE) };
    if listen.is_some_and(|listen| listen.tcp().is_some()) {
        return field.refused("a mode is of unix sockets alone");
    }
    let form = "a mode in octal of at least \"0600\" and at most \"0666\", such as \"0660\"";
    field.parsed(form, |text| {
        let plain = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok()?;
        (plain && mode & !MODE_BITS == 0 && mode & UNIX_MODE == UNIX_MODE).then_some(mode)
    })
}

/// What a listener says it is, when it speaks TLS: files that are a certificate and its key.
#[expect(clippy::option_option, reason = "no TLS is a value; no value is a problem that was told")]
fn tls(
    section: &Section<'_>,
    listen: Option<&ListenAddress>,
    path_of: PathOf<'_>,
) -> Option<Option<CertificateFiles>> {
    let Some(field) = section.field("tls") else { return Some(None) };
    let files = field.section()?;
    let (cert, key) = (files.required("cert"), files.required("key"));
    files.close();
    let files = CertificateFiles { cert: path_of(&cert?)?, key: path_of(&key?)? };
    if listen.is_some_and(|listen| listen.tcp().is_none()) {
        return field.refused("TLS is spoken over TCP; a unix socket leaves the machine nowhere");
    }
    match files.check() {
        Ok(()) => Some(Some(files)),
        Err(problem) => field.refused(&problem.to_string()),
    }
}

/// The hosts of a listener. One that is reachable from outside must name them: a page of a stranger can make
/// a browser send requests here under the stranger's own name.
pub(super) fn hosts(section: &Section<'_>, listen: Option<&ListenAddress>) -> Vec<String> {
    let items = section.field("hosts").map(|field| field.items(HOSTS_MAX)).unwrap_or_default();
    if items.is_empty() && listen.is_some_and(|listen| !listen.is_local()) {
        section
            .problem("`hosts` is required where `listen` is not loopback: the Host values that are served");
    }
    items.iter().filter_map(host).collect()
}

fn host(field: &Field<'_>) -> Option<String> {
    field.parsed("a host such as api.example.com, perhaps with a port", |text| {
        let authority: http::uri::Authority = text.parse().ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let fits = text.len() <= 255 && text.bytes().all(plain) && !authority.host().is_empty();
        fits.then(|| text.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::samples::{LEAST, refused, resolved};
    use super::super::overlay::Flags;
    use crate::config::{ConfigFile, resolve, shipped};

    #[test]
    fn what_is_reachable_from_outside_names_its_hosts() {
        refused(&LEAST.replace("127.0.0.1:8080", "0.0.0.0:8080"), "`hosts` is required");
        refused(&format!("{LEAST}[admin]\nlisten = \"192.0.2.1:8089\"\n"), "`hosts` is required");
        refused(&LEAST.replace("127.0.0.1:8080", "[::ffff:10.0.0.1]:80"), "`hosts` is required");
        let named = LEAST.replace("\"127.0.0.1:8080\"", "\"0.0.0.0:8080\"\nhosts = [\"API.example.com\"]");
        assert_eq!(resolved(&named, &[], &Flags::default()).unwrap().listeners[0].hosts, ["api.example.com"]);
        assert!(resolved(&LEAST.replace("127.0.0.1:8080", "[::1]:8080"), &[], &Flags::default()).is_ok());
        for bad in ["http://a", "a/b", "", "a@b", "*"] {
            refused(&format!("{LEAST}hosts = [\"{bad}\"]\n"), "expected a host such as");
        }
    }

    #[test]
    fn a_listener_serves_known_profiles_once_and_has_its_own_address() {
        refused(&LEAST.replace("[\"socialcrm\"]", "[]"), "expected at least one profile");
        refused(&LEAST.replace("[\"socialcrm\"]", "[\"nosuch\"]"), "expected the name of a [[profile]]");
        refused(&LEAST.replace("[\"socialcrm\"]", "[\"socialcrm\", \"socialcrm\"]"), "given twice");
        refused(&LEAST.replace("8080", "8089"), "two listeners have the address 127.0.0.1:8089");
        refused("data_dir = \"d\"", "expected at least one [[profile]]");
    }

    #[test]
    fn no_path_hides_what_a_door_tells_of_itself() {
        let problems = |old: &str, new: &str| {
            let shown = shipped("socialcrm").unwrap();
            assert!(shown.contains(old), "{old}");
            let profile = shown.replacen(old, new, 1).replacen("\"socialcrm\"", "\"own\"", 1);
            let text = LEAST
                .replacen("name = \"socialcrm\"", "file = \"own.toml\"", 1)
                .replace("[\"socialcrm\"]", "[\"own\"]");
            let file = ConfigFile { origin: "keyward.toml", text: &text, folder: Path::new("/etc/keyward") };
            let resolved = resolve(file, [], &Flags::default(), &|_| Ok(profile.clone()));
            resolved
                .map(drop)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let endpoint = "endpoint = \"/api/mcp-app\"";
        for (old, new) in [
            (endpoint, "endpoint = \"/rpc\"\nsse = \"/rpc/sse\""),
            ("public_paths = [", "public_paths = [\"/.well-known/ai-catalog.json\", "),
        ] {
            assert_eq!(problems(old, new), Ok(()), "{new}");
        }
        for (new, told) in [
            (
                "endpoint = \"/.well-known/oauth-protected-resource\"",
                "oauth-protected-resource of own is where",
            ),
            ("endpoint = \"/.well-known/ai-catalog.json\"", "ai-catalog.json of own is where own tells"),
            ("endpoint = \"/rpc\"\nsse = \"/rpc/server-card\"", "/rpc/server-card of own is where"),
            ("endpoint = \"/rpc\"\nsse = \"/rpc\"", "sse is the endpoint"),
        ] {
            let problems = problems(endpoint, new).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{new}: {problems:?}");
        }
    }

    const TWO: &str = r#"
[[listener]]
listen = "127.0.0.1:8080"
hosts = ["b.example"]
profiles = ["socialcrm"]
"#;

    #[test]
    fn listeners_of_one_address_are_told_apart_by_their_hosts() {
        let first = |hosts: &str| {
            LEAST.replace("\"127.0.0.1:8080\"", &format!("\"127.0.0.1:8080\"\nhosts = [{hosts}]")) + TWO
        };
        let two = resolved(&first("\"a.example\""), &[], &Flags::default()).unwrap();
        assert_eq!(two.listeners[0].listen, two.listeners[1].listen);
        assert!(
            resolved(
                &first("\"b.example:1\"").replace("b.example\"]", "b.example:2\"]"),
                &[],
                &Flags::default()
            )
            .is_ok()
        );
        let told = "keyward.toml:11: listener[1]: another listener";
        refused(&first(""), &format!("{told} has the address 127.0.0.1:8080: each of them needs `hosts`"));
        for same in ["\"a.example\", \"B.example\"", "\"b.example:8080\""] {
            refused(&first(same), &format!("{told} at 127.0.0.1:8080 serves the host b.example"));
        }
        // Any free port is one of its own each time.
        assert!(resolved(&format!("{LEAST}{TWO}").replace(":8080", ":0"), &[], &Flags::default()).is_ok());
    }

    #[test]
    fn a_unix_socket_has_a_mode_and_needs_no_hosts() {
        let unix = |more: &str| {
            LEAST.replace("\"127.0.0.1:8080\"", &format!("\"unix:/run/keyward/api.sock\"\n{more}"))
        };
        let mode = |text: &str| resolved(text, &[], &Flags::default()).unwrap().listeners[0].mode;
        assert_eq!(mode(&unix("")), 0o600);
        assert_eq!(mode(&unix("mode = \"0660\"")), 0o660);
        assert_eq!(mode(&unix("mode = \"666\"")), 0o666);
        for bad in ["0777", "0400", "rw", "0o660", "+660", "06600"] {
            refused(&unix(&format!("mode = \"{bad}\"")), "listener[0].mode: expected a mode in octal");
        }
        refused(&LEAST.replace("8080\"", "8080\"\nmode = \"0660\""), "a mode is of unix sockets alone");
        for bad in ["unix:", "unix:api.sock", "unix:/"] {
            refused(
                &LEAST.replace("127.0.0.1:8080", bad),
                "listener[0].listen: expected an IP address and a port",
            );
        }
        refused(&unix("tls = { cert = \"a\", key = \"b\" }"), "TLS is spoken over TCP");
        let twice =
            unix("hosts = [\"a.example\"]") + &TWO.replace("127.0.0.1:8080", "unix:/run/keyward/api.sock");
        assert!(resolved(&twice, &[], &Flags::default()).is_ok());
        refused(&twice.replace("[\"a.example\"]", "[\"a.example\"]\nmode = \"0660\""), "has another `mode`");
    }

    #[test]
    fn a_certificate_and_its_key_are_read_when_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(place("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(place("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let with = |cert: &str, key: &str| {
            let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", place(cert), place(key));
            LEAST.replace("8080\"", &format!("8080\"\nhosts = [\"a.example\"]\n{tls}"))
        };
        let settings = resolved(&with("cert.pem", "key.pem"), &[], &Flags::default()).unwrap();
        let files = settings.listeners[0].tls.clone().unwrap();
        assert_eq!((files.cert, files.key), (place("cert.pem").into(), place("key.pem").into()));
        refused(&with("absent.pem", "key.pem"), "keyward.toml:9: listener[0].tls: ");
        refused(&with("key.pem", "key.pem"), "holds no certificate");
        refused(&with("cert.pem", "cert.pem"), "holds no private key");
        refused(&with("cert.pem", "key.pem").replace(", key = ", ", ky = "), "`key` is missing");
        refused(&(with("cert.pem", "key.pem") + TWO), "differs in `tls`");
    }
}
