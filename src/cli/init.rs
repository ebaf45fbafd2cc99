//! `keyward init` and `keyward check`: a configuration to start from, and a judge for it.
//!
//! Nothing that exists is overwritten: a configuration may have been edited, and an admin key that is lost
//! locks its owner out.
//!
//! Never here: a file that is overwritten, or a key that is printed.

use std::io;
use std::path::Path;

use serde_json::json;

use super::failure::CliError;
use super::output::{Output, plain};
use crate::app;
use crate::config::{self, Flags, Problem, system_profile};
use crate::engine::mint;
use crate::store::private_file;

const CONFIG_FILE: &str = "keyward.toml";
/// As the template names it.
const KEY_FILE: &str = "admin.key";

/// Writes the configuration and the first admin key into `dir`.
pub(super) fn init(dir: &Path, json: bool, output: &mut Output) -> Result<(), CliError> {
    let failed = |path: &Path, source| CliError::File { path: path.to_owned(), action: "made", source };
    let (config, key) = (dir.join(CONFIG_FILE), dir.join(KEY_FILE));
    if let Some(path) = [&config, &key].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(CliError::Exists { path: path.clone() });
    }
    private_file::create_directory(dir).map_err(|error| failed(dir, error))?;
    // The configuration holds no secret.
    private_file::create_readable(&config, config::template().as_bytes())
        .map_err(|error| failed(&config, error))?;
    let no_random = || failed(&key, io::Error::other("the operating system gave no random bytes"));
    let raw = mint(&system_profile().tag).ok_or_else(no_random)?;
    app::write_key(&key, &raw).map_err(|error| failed(&key, error))?;
    if json {
        output.line(
            json!({"config": config.display().to_string(), "admin_key_file": key.display().to_string()}),
        );
        return Ok(());
    }
    output.line(format_args!("{}  the configuration; read it, it is short", shown(&config)));
    output
        .line(format_args!("{}     the first admin key (0600), taken over by the first start", shown(&key)));
    output.line(format_args!("\nNext: keyward serve --config {}", shown(&config)));
    Ok(())
}

/// Tells every problem of a configuration, or that there is none.
pub(super) fn check(path: &Path, json: bool, output: &mut Output) -> Result<(), CliError> {
    let checked = config::load(path, &Flags::default());
    if json {
        let problems = checked.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        output.line(
            json!({"ok": checked.is_ok(), "problems": problems.iter().map(problem).collect::<Vec<_>>()}),
        );
    }
    checked.map_err(CliError::Config)?;
    if !json {
        output.line("ok");
    }
    Ok(())
}

fn problem(problem: &Problem) -> serde_json::Value {
    let Problem { origin, line, path, message } = problem;
    json!({"origin": origin, "line": line, "path": path, "message": message})
}

fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::key_file::read_admin_key;
    use super::super::output::tests::kept;
    use super::*;

    #[test]
    fn what_init_writes_is_checked_as_good_and_its_key_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("new");
        let (mut output, out, _) = kept();
        init(&place, false, &mut output).unwrap();
        assert_eq!(place.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(place.join(KEY_FILE).metadata().unwrap().mode() & 0o777, 0o600);
        let key = read_admin_key(&place.join(KEY_FILE)).unwrap();
        assert!(!out.text().contains(key.reveal()));
        check(&place.join(CONFIG_FILE), false, &mut output).unwrap();
        assert!(out.text().ends_with("ok\n"));
    }

    #[test]
    fn init_never_overwrites_either_file() {
        for present in [CONFIG_FILE, KEY_FILE] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(present), "mine").unwrap();
            let (mut output, ..) = kept();
            let refused = init(dir.path(), false, &mut output);
            assert!(matches!(refused, Err(CliError::Exists { .. })), "{present}");
            assert_eq!(std::fs::read(dir.path().join(present)).unwrap(), b"mine");
            assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing else was written");
        }
    }

    #[test]
    fn check_tells_every_problem_in_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        std::fs::write(&path, "data_dir = 7\nnonsense = 1\n").unwrap();
        let (mut output, out, _) = kept();
        let Err(CliError::Config(problems)) = check(&path, true, &mut output) else { panic!() };
        assert!(problems.len() >= 2, "{problems:?}");
        let told: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(told["ok"], false);
        assert_eq!(told["problems"].as_array().unwrap().len(), problems.len());
    }
}
