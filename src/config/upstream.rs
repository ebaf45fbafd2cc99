//! What stands behind a gate, as a file says it: a text, or a table with the bounds of a server.
//!
//! Each bound has a default and a range; docs/configuration.md gives the reason of both.
//!
//! Never here: a connection to it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::command::command;
use super::quantity;
use super::reader::{Field, Section};
use super::settings::UpstreamSetting;
use crate::gateway::{Http2, ServerAddress, UpstreamOptions, UpstreamServer, plain_authority};

/// What fits.
const EXPECTED: &str = "expected \"sandbox\", \"none\", \"http://HOST:PORT\", \"https://HOST:PORT\", \"unix:/PATH\", or a \
                        table with one of the last three as its url, or with a command";
/// The most exchanges open at once that can be set: each may hold a window of 64 KiB.
const EXCHANGES_MOST: u64 = 16_384;
const IDLE_CONNECTIONS_MOST: u64 = 10_000;

/// The upstream of one profile. `path` resolves a path of the file.
pub(super) fn upstream(
    field: &Field<'_>,
    path: impl Fn(&Field<'_>) -> Option<PathBuf>,
) -> Option<UpstreamSetting> {
    if field.is_text() {
        match field.text() {
            Some("sandbox") => return Some(UpstreamSetting::Sandbox),
            Some("none") => return Some(UpstreamSetting::None),
            _ => {}
        }
        return Some(UpstreamSetting::Server(Box::new(UpstreamServer::at(address(field)?))));
    }
    if !field.is_table() {
        return field.refused(EXPECTED);
    }
    let section = field.section()?;
    if section.entries().iter().any(|(name, _)| *name == "command") {
        let command = command(&section, path);
        section.close();
        return Some(UpstreamSetting::Command(Box::new(command?)));
    }
    let server = server(&section, path);
    section.close();
    Some(UpstreamSetting::Server(Box::new(server?)))
}

fn address(field: &Field<'_>) -> Option<ServerAddress> {
    match ServerAddress::parse(field.text()?) {
        Ok(address) => Some(address),
        Err(error) => field.refused(&format!("{EXPECTED}; here: {error}")),
    }
}

fn server(section: &Section<'_>, path: impl Fn(&Field<'_>) -> Option<PathBuf>) -> Option<UpstreamServer> {
    let address = section.required("url").and_then(|field| address(&field));
    let host = section
        .field("host")
        .map(|field| field.parsed("a host such as api.example.com, perhaps with a port", plain_authority));
    let http2 = section.field("http2").map(|field| field.boolean());
    let ca = section.field("ca");
    if let (Some(field), Some(ServerAddress::Http(_) | ServerAddress::Unix(_))) = (&ca, &address) {
        field.problem("only an https:// upstream has a certificate to check");
    }
    let authorities = ca.map(|field| path(&field));
    let options = options(section);
    Some(UpstreamServer {
        address: address?,
        host: given(host)?,
        http2: match given(http2)? {
            None => Http2::IfOffered,
            Some(true) => Http2::Always,
            Some(false) => Http2::Never,
        },
        authorities: given(authorities)?,
        options: options?,
    })
}

/// A field that may be left out: none, or what was read. None at all when it could not be.
#[expect(clippy::option_option, reason = "left out and unreadable are two things")]
fn given<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |read| read.map(Some))
}

fn options(section: &Section<'_>) -> Option<UpstreamOptions> {
    let default = UpstreamOptions::default();
    let (millis, secs) = (Duration::from_millis, Duration::from_secs);
    let hour = Duration::from_hours(1);
    let day = Duration::from_hours(24);
    let connect = time(section, "connect", millis(100)..=secs(60), "100ms to 60s", default.connect_max);
    let answer = time(section, "answer", millis(100)..=hour, "100ms to 60m", default.answer_max);
    let pause = time(section, "pause", millis(100)..=hour, "100ms to 60m", default.pause_max);
    let send = time(section, "send", secs(1)..=day, "1s to 1440m", default.send_max);
    let quiet = time(section, "quiet", secs(1)..=day, "1s to 1440m", default.quiet_max);
    let idle = time(section, "idle", millis(100)..=Duration::from_mins(10), "100ms to 10m", default.idle_max);
    let idle_connections =
        count(section, "idle_connections", 0..=IDLE_CONNECTIONS_MOST, default.idle_connections_max);
    let (exchanges_max, workspace_exchanges_max, open_exchanges_max) = exchanges(section)?;
    let (streams_max, workspace_streams_max) = streams(section)?;
    Some(UpstreamOptions {
        connect_max: connect?,
        answer_max: answer?,
        send_max: send?,
        pause_max: pause?,
        quiet_max: quiet?,
        idle_max: idle?,
        idle_connections_max: idle_connections?,
        exchanges_max,
        workspace_exchanges_max,
        open_exchanges_max,
        streams_max,
        workspace_streams_max,
    })
}

/// The exchanges that may be open at once: all, one workspace's, and those without a key.
pub(super) fn exchanges(section: &Section<'_>) -> Option<(usize, usize, usize)> {
    let default = UpstreamOptions::default().exchanges_max;
    let exchanges = count(section, "exchanges", 1..=EXCHANGES_MOST, default);
    let all = exchanges.unwrap_or(default);
    let most = u64::try_from(all).unwrap_or(EXCHANGES_MOST);
    // A quarter for one workspace, an eighth for everyone without a key.
    let workspace = count(section, "workspace_exchanges", 1..=most, all.div_ceil(4));
    let keyless = count(section, "keyless_exchanges", 1..=most, all.div_ceil(8));
    Some((exchanges?, workspace?, keyless?))
}

/// The standing streams that may be open at once: all, and one workspace's.
pub(super) fn streams(section: &Section<'_>) -> Option<(usize, usize)> {
    let default = UpstreamOptions::default().streams_max;
    let streams = count(section, "streams", 1..=EXCHANGES_MOST, default);
    let all = streams.unwrap_or(default);
    let most = u64::try_from(all).unwrap_or(EXCHANGES_MOST);
    // A quarter for one workspace, as of the exchanges.
    let workspace = count(section, "workspace_streams", 1..=most, all.div_ceil(4));
    Some((streams?, workspace?))
}

pub(super) fn time(
    section: &Section<'_>,
    name: &'static str,
    range: RangeInclusive<Duration>,
    told: &str,
    default: Duration,
) -> Option<Duration> {
    let Some(field) = section.field(name) else { return Some(default) };
    field.parsed(&format!("a duration from {told}, such as \"30s\""), |text| {
        quantity::duration(text).filter(|duration| range.contains(duration))
    })
}

pub(super) fn count(
    section: &Section<'_>,
    name: &'static str,
    range: RangeInclusive<u64>,
    default: usize,
) -> Option<usize> {
    let Some(field) = section.field(name) else { return Some(default) };
    field.integer(range).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::super::file::samples::{LEAST, refused, resolved};
    use super::super::overlay::Flags;
    use super::*;

    fn with(upstream: &str) -> String {
        LEAST.replace("\"sandbox\"", upstream)
    }

    fn server_of(upstream: &str) -> UpstreamServer {
        let settings = resolved(&with(upstream), &[], &Flags::default()).unwrap();
        let UpstreamSetting::Server(server) = settings.profiles[0].upstream.clone() else { panic!() };
        *server
    }

    #[test]
    fn a_text_is_a_server_with_the_defaults() {
        for text in ["http://127.0.0.1:3000", "https://api.example.com", "unix:/run/api.sock"] {
            let server = server_of(&format!("\"{text}\""));
            assert_eq!(server, UpstreamServer::at(ServerAddress::parse(text).unwrap()), "{text}");
            assert_eq!(server_of(&format!("{{ url = \"{text}\" }}")), server, "{text}");
        }
    }

    #[test]
    fn nobody_stands_behind_a_gate_that_is_asked_and_has_nobody_to_ask() {
        let settings = resolved(&with("\"none\""), &[], &Flags::default()).unwrap();
        assert_eq!(
            (&settings.profiles[0].upstream, settings.profiles[0].asserts),
            (&UpstreamSetting::None, false)
        );
        let by_class = |upstream: &str| {
            format!("{LEAST}[[profile]]\nfile = \"by-class.toml\"\nupstream = \"{upstream}\"\n")
        };
        refused(&by_class("none"), "nobody can be asked what a tool does");
        resolved(&by_class("http://127.0.0.1:3000"), &[], &Flags::default()).unwrap();
    }

    #[test]
    fn a_table_sets_every_bound() {
        let server = server_of(
            "{ url = \"https://192.0.2.1:8443\", host = \"api.example.com\", http2 = false, ca = \"ca.pem\", \
             connect = \"1s\", answer = \"2s\", pause = \"3s\", send = \"4s\", quiet = \"5s\", idle = \"6s\", \
             idle_connections = 7, exchanges = 80, workspace_exchanges = 9, keyless_exchanges = 10, \
             streams = 70, workspace_streams = 11 }",
        );
        let secs = Duration::from_secs;
        let options = UpstreamOptions {
            connect_max: secs(1),
            answer_max: secs(2),
            pause_max: secs(3),
            send_max: secs(4),
            quiet_max: secs(5),
            idle_max: secs(6),
            idle_connections_max: 7,
            exchanges_max: 80,
            workspace_exchanges_max: 9,
            open_exchanges_max: 10,
            streams_max: 70,
            workspace_streams_max: 11,
        };
        assert_eq!((server.options, server.http2), (options, Http2::Never));
        assert_eq!(server.host.unwrap(), "api.example.com");
        assert_eq!(server.authorities.unwrap(), std::path::Path::new("/etc/keyward/ca.pem"));
        let shares = server_of("{ url = \"http://a\", exchanges = 10, http2 = true }");
        assert_eq!((shares.options.workspace_exchanges_max, shares.options.open_exchanges_max), (3, 2));
        assert_eq!(shares.http2, Http2::Always);
    }

    #[test]
    fn an_upstream_that_cannot_be_is_told_what_would() {
        for bad in [
            "\"http://a/path\"",
            "\"http://a?q\"",
            "\"http://u:p@a\"",
            "\"ftp://a\"",
            "\"a:1\"",
            "\"http://\"",
            "\"unix:run/a\"",
            "1",
            "[]",
            "{ url = \"sandbox\" }",
        ] {
            refused(&with(bad), "expected \"sandbox\"");
        }
        for (table, told) in [
            ("{}", "`url` is missing"),
            ("{ url = \"http://a\", ca = \"ca.pem\" }", "only an https:// upstream"),
            ("{ url = \"http://a\", connect = \"2m\" }", "connect: expected a duration from 100ms to 60s"),
            ("{ url = \"http://a\", exchanges = 0 }", "exchanges: expected a whole number from 1 to 16384"),
            (
                "{ url = \"http://a\", exchanges = 4, workspace_exchanges = 5 }",
                "workspace_exchanges: expected a whole number from 1 to 4",
            ),
            ("{ url = \"http://a\", host = \"a/b\" }", "host: expected a host"),
            ("{ url = \"http://a\", retries = 3 }", "unknown; known here: url, host, http2, ca"),
        ] {
            refused(&with(table), told);
        }
    }

    #[test]
    fn an_upstream_is_none_of_our_own_listeners() {
        for own in [
            "\"http://127.0.0.1:8089\"",
            "\"https://127.0.0.1:8080\"",
            "\"http://localhost:8080\"",
            "\"http://[::ffff:127.0.0.1]:8080\"",
            "\"http://0.0.0.0:8080\"",
            "\"http://[::]:8089\"",
            "{ url = \"http://127.0.0.1:8080\", host = \"other\" }",
        ] {
            refused(&with(own), "one of our own listeners");
        }
        let everywhere =
            with("\"http://127.0.0.1\"").replace("\"127.0.0.1:8080\"", "\"0.0.0.0:80\"\nhosts = [\"a\"]");
        refused(&everywhere, "one of our own listeners");
        let on_version_6 = with("\"http://localhost:81\"").replace("127.0.0.1:8080", "[::1]:81");
        refused(&on_version_6, "one of our own listeners");
        server_of("\"http://127.0.0.2:8080\"");
    }
}
