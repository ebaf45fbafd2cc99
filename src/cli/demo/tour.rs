//! What the demo tells people: where everything is, and lines to paste.
//!
//! A tour is data, one file for each shipped profile, in the order of the ports. Lines that start with four
//! blanks are for the shell and end as the prose above them says.
//!
//! Never here: a call; the lines are for people to paste.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::super::output::plain;
use super::kept_keys::KeptKey;
use crate::app::Running;

const TOURS: [(&str, &str); 3] = [
    ("socialcrm", include_str!("tours/socialcrm.txt")),
    ("mcp-cloud", include_str!("tours/mcp-cloud.txt")),
    ("shingleai", include_str!("tours/shingleai.txt")),
];

/// The welcome: addresses, keys, and a tour of each product.
pub(super) fn welcome(running: &Running, dir: &Path, keys: &BTreeMap<String, KeptKey>) -> String {
    let admin = running.admin().to_string();
    let key_file = running.admin_key_file();
    let mut text = format!("Keyward's demo is running. Its data: {}\n\n", plain(&dir.display().to_string()));
    let mut tours = String::new();
    // In the order of the ports.
    for (product, tour) in TOURS {
        let Some((endpoint, kept)) = running.surfaces().get(product).zip(keys.get(product)) else { continue };
        let url = endpoint.to_string();
        let _ = writeln!(text, "  {product:<10}  {url:<22}  ready key {}", kept.key);
        tours.push_str(&fill(tour, &url, &admin, key_file, kept));
    }
    let _ = writeln!(
        text,
        "  {:<10}  {admin:<22}  admin key in {}\n",
        "admin API",
        plain(&key_file.display().to_string())
    );
    text + &tours + "\nCtrl-C stops the demo. Its next start goes on with the same data and keys."
}

fn fill(tour: &str, url: &str, admin: &str, key_file: &Path, kept: &KeptKey) -> String {
    tour.replace("{url}", url)
        .replace("{admin}", admin)
        .replace("{admin_key_file}", &quoted(&key_file.display().to_string()))
        .replace("{workspace}", &kept.workspace_id)
        .replace("{key}", &kept.key)
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shipped_names;

    #[test]
    fn every_shipped_profile_has_a_tour_that_is_filled_whole() {
        assert!(TOURS.iter().map(|(name, _)| *name).eq(shipped_names()));
        for (name, tour) in TOURS {
            let kept = KeptKey { workspace_id: "ws_1".to_owned(), key: "sk_1".to_owned() };
            let filled = fill(tour, "http://a", "http://b", Path::new("/x y/admin.key"), &kept);
            for place in ["{url}", "{admin}", "{admin_key_file}", "{workspace}", "{key}"] {
                assert!(tour.contains(place), "{name}: {place}");
                assert!(!filled.contains(place), "{name}: {place}");
            }
            assert!(filled.contains("$(cat '/x y/admin.key')"), "{name}");
            let prose = filled.lines().filter(|line| !line.starts_with("    "));
            assert!(
                prose.into_iter().all(|line| !line.contains("curl ")),
                "{name}: a line to paste is not marked"
            );
        }
    }

    #[test]
    fn a_path_is_one_word_to_the_shell() {
        assert_eq!(quoted("/home/a/keyward-demo/admin.key"), "/home/a/keyward-demo/admin.key");
        assert_eq!(quoted("/a b/$(x)'s"), r"'/a b/$(x)'\''s'");
    }
}
