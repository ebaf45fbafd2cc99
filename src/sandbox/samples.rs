//! The persona and the trends that the sandbox pretends to know: the same for every workspace, always.
//!
//! They are samples, and each says so.
//!
//! Never here: anything that changes.

use serde::Serialize;

/// A brand's way of speaking.
#[derive(Serialize, Debug)]
pub(super) struct Persona {
    name: &'static str,
    voice: &'static str,
    audience: &'static str,
    topics: [&'static str; 3],
    sample: bool,
}

/// A topic that many speak of.
#[derive(Serialize, Debug)]
pub(super) struct Trend {
    topic: &'static str,
    hashtag: &'static str,
    sample: bool,
}

/// The persona there is.
pub(super) const PERSONA: Persona = Persona {
    name: "Example brand",
    voice: "friendly, plain, short",
    audience: "people who try the API",
    topics: ["launches", "how it is made", "customer stories"],
    sample: true,
};

/// Every trend there is.
pub(super) const TRENDS: [Trend; 5] = [
    trend("Product launches", "#productlaunch"),
    trend("Behind the scenes", "#behindthescenes"),
    trend("Customer stories", "#customerstories"),
    trend("Small businesses", "#smallbusiness"),
    trend("Working from anywhere", "#remotework"),
];

const fn trend(topic: &'static str, hashtag: &'static str) -> Trend {
    Trend { topic, hashtag, sample: true }
}
