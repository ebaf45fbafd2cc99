//! Feeds `load_profile` with any text that a product's file may hold.
//!
//! What always holds: nothing panics; what is not taken is told, each problem on one line and without the text that
//! stands in the place of a secret; what loads can say every denial and every fault at each of its doors, with a status
//! of refusals, a header that is one, and a body that is the JSON that the door speaks; and its routes can be asked for
//! any path that the file names.
//!
//! Not covered: whether the words are good ones, and what a daemon makes of several profiles together.

use crate::refusals::{are_told, says_everything};
use keyward::config::{LoadedProfile, load_profile};
use keyward::domain::profile::Verb;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match load_profile(text, "fuzz.toml") {
        Ok(loaded) => {
            says_everything(&loaded);
            finds_paths(&loaded, text);
        }
        Err(problems) => are_told(&problems),
    }
}

/// Asks the routes for whatever the file has between quotes and looks like a path.
fn finds_paths(loaded: &LoadedProfile, text: &str) {
    let Some(door) = &loaded.profile.rest else { return };
    for path in text.split('"').filter(|part| part.starts_with('/')).take(64) {
        for verb in Verb::ALL {
            let _ = door.routes.find(Some(verb), path);
        }
        let _ = (door.routes.find(None, path), door.is_at(path));
    }
}
