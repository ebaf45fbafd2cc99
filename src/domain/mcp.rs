//! The versions of MCP that are spoken here, and the two eras that they fall into.
//!
//! A version is a date, so a later one is the greater text. Whoever names none speaks the legacy era.
//!
//! Never here: a header or a message in which a version stands.

/// The versions of the legacy era, the newest last.
pub const LEGACY_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", NEWEST_LEGACY_VERSION];
/// The last of them.
pub const NEWEST_LEGACY_VERSION: &str = "2025-11-25";
/// The first version of the modern era, and the only one so far.
pub const MODERN_VERSION: &str = "2026-07-28";

/// Which of the two protocols a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: begun by a handshake, and an unknown method is an answer with status 200.
    Legacy,
    /// From 2026-07-28 on: each request stands for itself, and an unknown method has status 404.
    Modern,
}

impl Era {
    /// The era of a version that somebody names.
    pub fn of_version(version: Option<&str>) -> Self {
        if version.is_some_and(|version| version >= MODERN_VERSION) { Self::Modern } else { Self::Legacy }
    }
}

/// Whether a list of media types, as an `Accept` has it, names event streams.
pub fn names_event_stream(media_types: &str) -> bool {
    media_types.split(',').any(|kind| {
        let essence = kind.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modern_era_begins_with_its_first_version() {
        for version in LEGACY_VERSIONS.into_iter().chain(["2026-07-27", ""]) {
            assert_eq!(Era::of_version(Some(version)), Era::Legacy, "{version}");
        }
        assert_eq!(Era::of_version(None), Era::Legacy);
        for version in [MODERN_VERSION, "2027-01-01"] {
            assert_eq!(Era::of_version(Some(version)), Era::Modern, "{version}");
        }
    }
}
