//! The sockets of a daemon: where each listens, whom it serves and which products.
//!
//! Profiles on one listener never claim overlapping paths, and a listener that is reachable from outside
//! names its hosts.
//!
//! Never here: opening a socket.

use std::net::SocketAddr;

use super::door::overlap;
use super::file::PROFILES_MAX;
use super::profile::name_of;
use super::reader::{Field, Section};
use super::settings::{ListenerSettings, ProfileSettings};
use crate::domain::profile::Profile;

/// The most listeners of one daemon.
const LISTENERS_MAX: usize = 64;
/// The most hosts of one listener.
const HOSTS_MAX: usize = 64;

/// The data listeners; `profiles` are those of the same file, in its order.
pub(super) fn listeners(root: &Section<'_>, profiles: &[Option<ProfileSettings>]) -> Vec<ListenerSettings> {
    root.sections("listener", LISTENERS_MAX)
        .iter()
        .filter_map(|section| listener(section, profiles))
        .collect()
}

fn listener(section: &Section<'_>, profiles: &[Option<ProfileSettings>]) -> Option<ListenerSettings> {
    let listen = section.required("listen").and_then(|field| address(&field));
    let hosts = hosts(section, listen);
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
        }
    }
    Some(ListenerSettings { listen: listen?, hosts, profiles: served })
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

fn paths(profile: &Profile) -> Vec<&str> {
    let rest = profile.rest.iter().map(|door| door.base.as_str());
    let rpc = profile.rpc.iter().flat_map(|door| std::iter::once(&door.endpoint).chain(&door.public_paths));
    rest.chain(rpc.map(String::as_str)).collect()
}

/// An address and a port.
pub(super) fn address(field: &Field<'_>) -> Option<SocketAddr> {
    if field.is_text() && field.text().is_some_and(|text| text.starts_with("unix:")) {
        return field.refused("expected an address and a port; unix sockets are not supported yet");
    }
    field.parsed("an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080", |text| text.parse().ok())
}

/// The hosts of a listener. One that is reachable from outside must name them: a page of a stranger can make
/// a browser send requests here under the stranger's own name.
pub(super) fn hosts(section: &Section<'_>, listen: Option<SocketAddr>) -> Vec<String> {
    let items = section.field("hosts").map(|field| field.items(HOSTS_MAX)).unwrap_or_default();
    if items.is_empty() && listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback()) {
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
    use super::super::file::samples::{LEAST, refused, resolved};
    use super::super::overlay::Flags;

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
}
