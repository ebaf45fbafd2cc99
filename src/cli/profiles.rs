//! `keyward profile`: the profiles inside this binary.
//!
//! Never here: a profile of a user's own; `check` reads those.

use serde_json::json;

use super::failure::CliError;
use super::output::Output;
use crate::config::{load_profile, shipped, shipped_names};

/// `keyward profile list`.
pub(super) fn list(json: bool, output: &mut Output) -> Result<(), CliError> {
    let mut profiles = Vec::new();
    for name in shipped_names() {
        let text = shipped(name).unwrap_or_default();
        let loaded = load_profile(text, name).map_err(CliError::Config)?;
        let plans: Vec<_> = loaded.profile.plans.iter().map(|plan| plan.name.clone()).collect();
        profiles.push((name, loaded.profile.tag.as_str().to_owned(), plans));
    }
    if json {
        let data: Vec<_> = profiles
            .iter()
            .map(|(name, tag, plans)| json!({"name": name, "tag": tag, "plans": plans}))
            .collect();
        output.line(json!({"data": data}));
    } else {
        let head = ["NAME", "TAG", "PLANS"].map(str::to_owned).to_vec();
        let rows = profiles.into_iter().map(|(name, tag, plans)| vec![name.to_owned(), tag, plans.join(",")]);
        output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    Ok(())
}

/// `keyward profile show`.
pub(super) fn show(name: &str, json: bool, output: &mut Output) -> Result<(), CliError> {
    let known = || shipped_names().collect::<Vec<_>>().join(", ");
    let unknown = || CliError::Usage(format!("no such profile: expected one of {}", known()));
    let text = shipped(name).ok_or_else(unknown)?;
    if json {
        output.line(json!({"name": name, "toml": text}));
    } else {
        output.line(text.trim_end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::kept;
    use super::*;

    #[test]
    fn every_profile_that_is_listed_can_be_shown_and_loads_again() {
        for name in shipped_names() {
            let (mut output, out, _) = kept();
            list(false, &mut output).unwrap();
            assert!(out.text().lines().any(|line| line.starts_with(&format!("{name} "))));
            let (mut output, out, _) = kept();
            show(name, false, &mut output).unwrap();
            assert_eq!(load_profile(&out.text(), "printed").unwrap().profile.name, name);
        }
    }

    #[test]
    fn an_unknown_profile_is_told_with_the_known_ones() {
        let (mut output, ..) = kept();
        let error = show("nonsense", false, &mut output).unwrap_err();
        assert!(error.to_string().contains("socialcrm"), "{error}");
    }
}
