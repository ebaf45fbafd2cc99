//! The demo's folder and its settings.
//!
//! The settings are those of an empty `keyward.toml` but for places and ports: what the demo shows is what a
//! user gets. The environment is not read, so that a demo is the same everywhere.
//!
//! Never here: a setting that makes the demo more lenient than a real daemon.

use std::fmt::Write;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::arguments::DEMO_ADMIN_OFFSET;
use super::super::failure::CliError;
use crate::config::{ConfigFile, Flags, Settings, resolve, shipped_names};
use crate::store::private_file;

/// The mode of the folder: its owner alone.
const DIR_MODE: u32 = 0o700;

/// Makes the folder, or takes the one that is there; its absolute path. An empty one is closed to others, one
/// that holds something stays as it is: the daemon refuses it if it is open.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf, CliError> {
    let failed = |source| CliError::File { path: dir.to_owned(), action: "made ready", source };
    private_file::create_directory(dir).map_err(failed)?;
    if dir.read_dir().map_err(failed)?.next().is_none() {
        std::fs::set_permissions(dir, Permissions::from_mode(DIR_MODE)).map_err(failed)?;
    }
    dir.canonicalize().map_err(failed)
}

/// The demo's settings: the n-th shipped profile at the n-th port, the admin API at the tenth.
pub(super) fn settings(dir: &Path, port: u16, flags: &Flags) -> Result<Settings, CliError> {
    let Some(place) = dir.to_str().filter(|place| !place.contains(char::is_control)) else {
        return Err(CliError::Usage(
            "--data: expected a path in UTF-8 without control characters".to_owned(),
        ));
    };
    let text = configuration(place, port);
    let file = ConfigFile { origin: "the demo's settings", text: &text, folder: dir };
    let no_files = |_: &Path| Err(io::ErrorKind::NotFound.into());
    resolve(file, [], flags, &no_files).map_err(CliError::Config)
}

fn configuration(place: &str, port: u16) -> String {
    let at = |offset: u16| if port == 0 { 0 } else { port.saturating_add(offset) };
    let mut text = format!(
        "data_dir = {}\n[admin]\nlisten = \"127.0.0.1:{}\"\nkey_file = \"admin.key\"\n",
        toml::Value::from(place),
        at(DEMO_ADMIN_OFFSET)
    );
    for (offset, name) in (0..).zip(shipped_names()) {
        let name = toml::Value::from(name);
        let port = at(offset);
        let _ = write!(
            text,
            "[[profile]]\nname = {name}\nupstream = \"sandbox\"\n[[listener]]\nlisten = \"127.0.0.1:{port}\"\nprofiles = [{name}]\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::config::UpstreamSetting;

    fn ports(settings: &Settings) -> Vec<u16> {
        let listeners = settings.listeners.iter().map(|listener| &listener.listen);
        listeners.chain([&settings.admin.listen]).map(|listen| listen.tcp().unwrap().port()).collect()
    }

    #[test]
    fn each_shipped_profile_has_its_port_and_the_admin_api_the_tenth() {
        let settings = settings(Path::new("/tmp/a \"b\" 'c'"), 8080, &Flags::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new("/tmp/a \"b\" 'c'"));
        assert_eq!(settings.admin.key_file, Path::new("/tmp/a \"b\" 'c'/admin.key"));
        let names: Vec<_> =
            settings.profiles.iter().map(|product| product.loaded.profile.name.as_str()).collect();
        assert_eq!(names, shipped_names().collect::<Vec<_>>());
        assert!(settings.profiles.iter().all(|product| product.upstream == UpstreamSetting::Sandbox));
        let mut expected: Vec<u16> = (8080..).take(names.len()).collect();
        expected.push(8089);
        assert_eq!(ports(&settings), expected);
        assert!(names.len() <= usize::from(DEMO_ADMIN_OFFSET), "the admin port is the tenth");
    }

    #[test]
    fn port_0_is_any_free_port_everywhere() {
        let settings = settings(Path::new("/tmp/d"), 0, &Flags::default()).unwrap();
        assert!(ports(&settings).iter().all(|port| *port == 0));
    }

    #[test]
    fn a_new_or_empty_folder_is_closed_and_a_used_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let new = prepare(&dir.path().join("a/b")).unwrap();
        assert_eq!(mode(&new), 0o700);
        std::fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(mode(&prepare(&new).unwrap()), 0o700);
        std::fs::write(new.join("mine"), "").unwrap();
        std::fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(mode(&prepare(&new).unwrap()), 0o755);
    }
}
