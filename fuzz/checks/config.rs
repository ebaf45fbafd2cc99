//! Feeds `resolve` with any text that `keyward.toml` may hold. Behind a line `#---` stands the text of the profile files
//! that it names, and behind another one the environment, a variable a line.
//!
//! What always holds: nothing panics and nothing is started; what is not taken is told, without the text that stands in
//! the place of a secret; what is taken is whole: each listener serves products that are there, no two products share
//! a tag, nothing that is reachable from outside serves every host, sizes and times are in their ranges; and each
//! profile can say every refusal.
//!
//! Not covered: flags, certificates, and what a daemon makes of it.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::refusals::{are_told, says_everything};
use keyward::config::{ConfigFile, Flags, Settings, resolve};

/// What parts the texts of one input.
const PART: &str = "\n#---\n";

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, PART);
    let (file, product) = (parts.next().unwrap_or_default(), parts.next());
    let environment = parts.next().unwrap_or_default().lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let read = |_: &Path| product.map(str::to_owned).ok_or_else(|| io::ErrorKind::NotFound.into());
    let file = ConfigFile { origin: "keyward.toml", text: file, folder: Path::new("/nowhere") };
    match resolve(file, environment, &Flags::default(), &read) {
        Ok(settings) => is_whole(&settings),
        Err(problems) => are_told(&problems),
    }
}

fn is_whole(settings: &Settings) {
    assert!(!settings.profiles.is_empty());
    for (place, product) in settings.profiles.iter().enumerate() {
        let tag = &product.loaded.profile.tag;
        let others = settings.profiles.iter().skip(place + 1);
        for other in others.map(|other| &other.loaded.profile) {
            assert!(other.tag != *tag && other.name != product.loaded.profile.name, "two products are one");
        }
        says_everything(&product.loaded);
    }
    for listener in &settings.listeners {
        assert!(!listener.profiles.is_empty(), "a listener that serves nothing");
        assert!(listener.profiles.iter().all(|place| *place < settings.profiles.len()));
        assert!(listener.listen.is_local() || !listener.hosts.is_empty(), "any host is served to the world");
    }
    assert!(settings.admin.listen.is_local() || !settings.admin.hosts.is_empty());
    let interval = settings.checkpoint_interval;
    assert!((Duration::from_millis(100)..=Duration::from_mins(1)).contains(&interval), "{interval:?}");
    assert!((1..=4_096).contains(&settings.slow_hash.queue_max));
    assert!((1..=64).contains(&settings.slow_hash.workers));
    assert!((1_000..=100_000_000).contains(&settings.replays_max));
    assert!((1 << 20..=64 << 30).contains(&settings.cache.store_bytes));
}
