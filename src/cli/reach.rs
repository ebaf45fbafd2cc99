//! Where the daemon is and which key opens it: flags, then `KEYWARD_*`, then the configuration file, then the
//! places that `demo` and `init` use.
//!
//! Never here: a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::arguments::ReachArguments;
use super::failure::CliError;
use crate::config::{self, AdminSettings, Flags};
use crate::http::ListenAddress;

/// The admin listener's address when nobody says otherwise.
const ADMIN_DEFAULT: &str = "127.0.0.1:8089";
/// What is asked for over a unix socket, which has no host.
const UNIX_HOST: &str = "localhost";
/// Where an admin key may lie when nobody says otherwise: `init`'s place, then `demo`'s.
const KEY_FILES: [&str; 2] = ["admin.key", "keyward-demo/admin.key"];

/// A daemon's admin listener and the file of a key for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reach {
    pub(super) admin: AdminUrl,
    pub(super) key_file: PathBuf,
}

/// An admin listener: `http://HOST:PORT` or `unix:PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AdminUrl {
    /// What is connected to.
    pub(super) connect: Connect,
    /// What the `Host` header says.
    pub(super) host: String,
}

/// What a client connects to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Connect {
    /// A host and a port.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl Reach {
    /// Finds the daemon and the key.
    pub(super) fn find(arguments: &ReachArguments) -> Result<Self, CliError> {
        let settings = match &arguments.config {
            Some(path) => Some(config::load(path, &Flags::default()).map_err(CliError::Config)?.admin),
            None => None,
        };
        let environment = config::environment();
        let variable = |wanted: &str| {
            environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let from_environment = (variable("KEYWARD_ADMIN_LISTEN"), variable("KEYWARD_ADMIN_KEY_FILE"));
        Self::choose(arguments, from_environment, settings.as_ref(), &|path| path.exists())
    }

    fn choose(
        arguments: &ReachArguments,
        (listen, key_file): (Option<&str>, Option<&str>),
        settings: Option<&AdminSettings>,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, CliError> {
        let admin = match (&arguments.admin, settings, listen) {
            (Some(url), ..) => url.clone(),
            // What stands in the environment stands over the file already, in the settings.
            (None, Some(settings), _) => AdminUrl::of(settings),
            (None, None, Some(listen)) => {
                ListenAddress::parse(listen).as_ref().map(AdminUrl::at).ok_or_else(|| {
                    CliError::Usage(format!("KEYWARD_ADMIN_LISTEN: expected {}", ListenAddress::FORM))
                })?
            }
            (None, None, None) => {
                AdminUrl { connect: Connect::Tcp(ADMIN_DEFAULT.to_owned()), host: ADMIN_DEFAULT.to_owned() }
            }
        };
        let key_file = match (&arguments.admin_key_file, settings, key_file) {
            (Some(path), ..) => path.clone(),
            (None, Some(settings), _) => settings.key_file.clone(),
            (None, None, Some(path)) => PathBuf::from(path),
            (None, None, None) => {
                let found = KEY_FILES.into_iter().map(PathBuf::from).find(|path| exists(path));
                found.ok_or(CliError::NoKeyFile { looked_at: KEY_FILES.join(", ") })?
            }
        };
        Ok(Self { admin, key_file })
    }
}

impl AdminUrl {
    /// Reads `http://HOST[:PORT]` or `unix:PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT, such as http://127.0.0.1:8089, or unix:PATH";
        if text.starts_with("unix:") {
            let listen = ListenAddress::parse(text).ok_or("expected unix: and an absolute path")?;
            return Ok(Self::at(&listen));
        }
        let uri: http::Uri = text.parse().map_err(|_| expected.to_owned())?;
        let authority = uri.authority().ok_or(expected)?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{expected}; https:// is not built yet"));
        }
        if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(format!("{expected}, and nothing behind the port"));
        }
        let port = authority.port_u16().unwrap_or(80);
        let connect = Connect::Tcp(format!("{}:{port}", authority.host()));
        Ok(Self { connect, host: authority.to_string() })
    }

    /// A listener as this machine sees it: one on every address is reached over loopback.
    pub(super) fn at(listen: &ListenAddress) -> Self {
        let listen = match listen {
            ListenAddress::Tcp(listen) => listen,
            ListenAddress::Unix(path) => {
                return Self { connect: Connect::Unix(path.clone()), host: UNIX_HOST.to_owned() };
            }
        };
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listen.port()).to_string();
        Self { connect: Connect::Tcp(address.clone()), host: address }
    }

    fn of(settings: &AdminSettings) -> Self {
        let at = Self::at(&settings.listen);
        let host = settings.hosts.first().cloned().unwrap_or(at.host);
        Self { connect: at.connect, host }
    }
}

impl std::fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.connect {
            Connect::Tcp(address) => write!(f, "http://{address}"),
            Connect::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AdminSettings {
        AdminSettings {
            listen: ListenAddress::parse("0.0.0.0:9000").unwrap(),
            mode: 0o600,
            key_file: "/etc/keyward/admin.key".into(),
            hosts: vec!["admin.example".to_owned()],
        }
    }

    fn chosen(
        arguments: &ReachArguments,
        environment: (Option<&str>, Option<&str>),
        settings: Option<&AdminSettings>,
        present: &[&str],
    ) -> (String, String) {
        let exists = |path: &Path| present.iter().any(|name| Path::new(name) == path);
        let reach = Reach::choose(arguments, environment, settings, &exists).unwrap();
        (reach.admin.to_string(), reach.key_file.display().to_string())
    }

    #[test]
    fn flags_stand_over_the_file_and_the_file_over_the_usual_places() {
        let none = ReachArguments::default();
        let flags = ReachArguments {
            admin: Some(AdminUrl::parse("http://localhost:1").unwrap()),
            config: None,
            admin_key_file: Some("k".into()),
        };
        let usual = ["keyward-demo/admin.key"];
        let pair = |admin: &str, key: &str| (admin.to_owned(), key.to_owned());
        assert_eq!(chosen(&flags, (None, None), Some(&settings()), &usual), pair("http://localhost:1", "k"));
        let of_file = pair("http://127.0.0.1:9000", "/etc/keyward/admin.key");
        assert_eq!(chosen(&none, (None, None), Some(&settings()), &usual), of_file);
        let of_environment = pair("http://[::1]:7", "e");
        assert_eq!(chosen(&none, (Some("[::]:7"), Some("e")), None, &usual), of_environment);
        let of_demo = pair("http://127.0.0.1:8089", "keyward-demo/admin.key");
        assert_eq!(chosen(&none, (None, None), None, &usual), of_demo);
        let both = ["keyward-demo/admin.key", "admin.key"];
        assert_eq!(chosen(&none, (None, None), None, &both).1, "admin.key");
    }

    #[test]
    fn without_a_key_file_the_places_that_were_tried_are_told() {
        let error = Reach::choose(&ReachArguments::default(), (None, None), None, &|_| false).unwrap_err();
        assert!(error.to_string().contains("keyward-demo/admin.key"), "{error}");
    }

    #[test]
    fn the_host_that_a_listener_serves_is_the_one_that_is_sent() {
        assert_eq!(AdminUrl::of(&settings()).host, "admin.example");
    }

    #[test]
    fn an_admin_url_is_plain_http_to_a_host_and_a_port_or_a_unix_socket() {
        let unix = AdminUrl::parse("unix:/run/keyward/admin.sock").unwrap();
        assert_eq!(
            (unix.to_string().as_str(), unix.host.as_str()),
            ("unix:/run/keyward/admin.sock", "localhost")
        );
        assert_eq!(AdminUrl::parse("http://admin.example").unwrap().to_string(), "http://admin.example:80");
        assert_eq!(AdminUrl::parse("http://[::1]:8089/").unwrap().to_string(), "http://[::1]:8089");
        for bad in [
            "127.0.0.1:8089",
            "https://a",
            "http://a/x",
            "http://a/?q",
            "http://u:p@a",
            "http://",
            "unix:x",
            "",
        ] {
            assert!(AdminUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
