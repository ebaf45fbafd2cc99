//! `[sandbox.llm]`: the language model that answers in the sandbox's place.
//!
//! Without a `url` there is none, and then nothing else of the table may stand either: it was meant for one.
//!
//! Never here: a key, which has a file of its own.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::quantity;
use super::reader::{Field, Section};
use super::settings::LlmSettings;

/// Below the minute that the gate itself waits for an answer to begin, so that the sandbox says what is late.
const WAIT_MAX: Duration = Duration::from_secs(55);
/// Characters of a model's name at most.
const MODEL_CHARS_MAX: usize = 200;

const URL: &str =
    "an http:// or https:// URL of a host and where its API begins, such as \"http://127.0.0.1:11434/v1\"";
const MODEL: &str = "a model's name of 1 to 200 characters";

/// Something could not be read, and the report has it.
pub(super) struct Told;

/// The model, if one is configured. `path` reads a path.
pub(super) fn llm(
    sandbox: &Section<'_>,
    path: &dyn Fn(&Field<'_>) -> Option<PathBuf>,
) -> Result<Option<LlmSettings>, Told> {
    let section = sandbox.section("llm");
    sandbox.close();
    let url = section.field("url");
    let model = section.field("model");
    let key_file = section.field("key_file").map(|field| path(&field));
    let ca_file = section.field("ca_file").map(|field| path(&field));
    let wait_max = section.field("wait_max").map(|field| wait(&field));
    section.close();
    let is_empty = url.is_none()
        && model.is_none()
        && [&key_file, &ca_file].iter().all(|given| given.is_none())
        && wait_max.is_none();
    if is_empty {
        return Ok(None);
    }
    if url.is_none() {
        section
            .problem("`url` is missing: where the model's server is, such as \"http://127.0.0.1:11434/v1\"");
    }
    if model.is_none() {
        section.problem("`model` is missing: the model that is asked, whatever callers name");
    }
    let url = url.and_then(|field| field.parsed(URL, base));
    let model = model.and_then(|field| field.parsed(MODEL, name));
    Ok(Some(LlmSettings {
        url: url.ok_or(Told)?,
        model: model.ok_or(Told)?,
        key_file: key_file.map(|path| path.ok_or(Told)).transpose()?,
        ca_file: ca_file.map(|path| path.ok_or(Told)).transpose()?,
        wait_max: wait_max.unwrap_or(Some(WAIT_MAX)).ok_or(Told)?,
    }))
}

fn wait(field: &Field<'_>) -> Option<Duration> {
    let bounds = Duration::from_secs(1)..=Duration::from_mins(10);
    field.parsed("a duration from 1s to 10m, such as \"55s\"", |text| {
        quantity::duration(text).filter(|wait| bounds.contains(wait))
    })
}

fn name(text: &str) -> Option<String> {
    let fits = (1..=MODEL_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

fn base(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority()?;
    let fits = is_http
        && !authority.host().is_empty()
        && !authority.as_str().contains('@')
        && uri.query().is_none()
        && !text.contains('#');
    fits.then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::super::file::samples::{LEAST, refused, resolved};
    use super::super::overlay::Flags;
    use super::*;
    use std::path::Path;

    fn with(table: &str) -> String {
        format!("{LEAST}[sandbox.llm]\n{table}\n")
    }

    #[test]
    fn there_is_no_model_until_one_is_configured() {
        for text in [LEAST, &with(""), &format!("{LEAST}[sandbox]\n")] {
            assert!(resolved(text, &[], &Flags::default()).unwrap().llm.is_none(), "{text}");
        }
    }

    #[test]
    fn a_model_is_read_with_its_defaults_and_from_the_environment() {
        let least = with("url = \"http://127.0.0.1:11434/v1\"\nmodel = \"small\"");
        let llm = resolved(&least, &[], &Flags::default()).unwrap().llm.unwrap();
        assert_eq!(
            (llm.url.to_string().as_str(), llm.model.as_str()),
            ("http://127.0.0.1:11434/v1", "small")
        );
        assert_eq!((llm.key_file, llm.ca_file, llm.wait_max), (None, None, WAIT_MAX));
        let environment = [
            ("KEYWARD_SANDBOX_LLM_URL", "https://models.example/v1/"),
            ("KEYWARD_SANDBOX_LLM_MODEL", "large"),
            ("KEYWARD_SANDBOX_LLM_WAIT_MAX", "2m"),
        ];
        let text = with("key_file = \"llm.key\"\nca_file = \"/ca.pem\"");
        let llm = resolved(&text, &environment, &Flags::default()).unwrap().llm.unwrap();
        assert_eq!(llm.key_file.as_deref(), Some(Path::new("/etc/keyward/llm.key")));
        assert_eq!(llm.ca_file.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!((llm.model.as_str(), llm.wait_max), ("large", Duration::from_mins(2)));
    }

    #[test]
    fn half_a_model_is_refused_and_told_what_is_missing() {
        let url = "url = \"http://localhost/v1\"\n";
        refused(&with("model = \"small\""), "sandbox.llm: `url` is missing");
        refused(&with(url), "sandbox.llm: `model` is missing");
        refused(&with(&format!("{url}model = \"\"")), "sandbox.llm.model: expected a model's name");
        refused(&with(&format!("{url}model = \"m\"\nkey = \"secret\"")), "sandbox.llm.key: unknown");
        refused(
            &with(&format!("{url}model = \"m\"\nwait_max = \"1h\"")),
            "expected a duration from 1s to 10m",
        );
        for bad in
            ["ftp://x/v1", "127.0.0.1:1/v1", "/v1", "http://u:p@x/v1", "http://x/v1?k=1", "http://x/#y"]
        {
            refused(
                &with(&format!("url = \"{bad}\"\nmodel = \"m\"")),
                "sandbox.llm.url: expected an http://",
            );
        }
    }
}
