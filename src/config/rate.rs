//! Rates in TOML: one table, or a list of up to four, wherever a rate can stand.
//!
//! Never here: a default.

use super::reader::Field;
use crate::dialect::RateHeaders;
use crate::domain::profile::RouteBucketNo;
use crate::domain::rate::{
    FILL_SECS_MAX, Rate, RateError, Rates, TOKENS_PER_SEC_MAX, WINDOW_SECS_MAX, WINDOWS_MAX,
};

/// The highest limit or burst of a rate: the most tokens a second over the longest window.
const RATE_LIMIT_MAX: u64 = TOKENS_PER_SEC_MAX * WINDOW_SECS_MAX as u64;

/// One rate, `{ limit, window_s, burst? }`, or a list of them that hold at once.
pub(super) fn rates_of(field: &Field<'_>) -> Option<Rates> {
    if !field.is_list() {
        return rate_of(field).map(Rates::from);
    }
    let items = field.items(WINDOWS_MAX);
    let read = items.iter().map(rate_of).collect::<Option<Vec<_>>>()?;
    match Rates::new(read) {
        Ok(rates) => Some(rates),
        Err(error) => field.refused(&format!("expected {}", error.expected())),
    }
}

/// One rate, `{ limit, window_s, burst? }`.
pub(super) fn rate_of(field: &Field<'_>) -> Option<Rate> {
    let section = field.section()?;
    let limit = section.required("limit").and_then(|field| field.integer(0..=RATE_LIMIT_MAX));
    let window = section.required("window_s").and_then(|field| field.integer(1..=WINDOW_SECS_MAX.into()));
    let burst = section.field("burst").map(|field| field.integer(1..=RATE_LIMIT_MAX));
    section.close();
    let burst = burst.map_or(Some(None), |burst| burst.map(Some))?;
    match Rate::new(limit?, u32::try_from(window?).ok()?, burst) {
        Ok(rate) => Some(rate),
        Err(RateError::Window) => field.refused(&format!("expected a window_s from 1 to {WINDOW_SECS_MAX}")),
        Err(RateError::TooFast) => {
            field.refused(&format!("expected a limit of at most {TOKENS_PER_SEC_MAX} a second"))
        }
        Err(RateError::Burst) => field.refused(&format!(
            "expected a burst of at least 1 that is full again within {FILL_SECS_MAX} seconds"
        )),
    }
}

/// Which headers tell callers where their rates stand.
pub(super) fn rate_headers(field: &Field<'_>) -> Option<RateHeaders> {
    field.parsed("both, draft or none", |text| match text {
        "both" => Some(RateHeaders::Both),
        "draft" => Some(RateHeaders::Draft),
        "none" => Some(RateHeaders::None),
        _ => None,
    })
}

/// The rates of single routes and tools, as they are read.
#[derive(Default)]
pub(super) struct RouteRates(pub(super) Vec<Rate>);

impl RouteRates {
    /// The number of another one.
    pub(super) fn used_by(&mut self, field: &Field<'_>) -> Option<RouteBucketNo> {
        let rate = rate_of(field)?;
        let number = u16::try_from(self.0.len()).ok().map(RouteBucketNo)?;
        self.0.push(rate);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load_profile, shipped};
    use crate::domain::profile::{Found, Verb};

    const FOR_ALL: &str = "[rate]\nlimit = 600\nwindow_s = 60\n";
    const A_ROUTE: &str = "path = \"/v1/ai/rewrite\"";
    const A_TOOL: &str = "[rpc.tools]\n";

    #[test]
    fn a_rate_is_a_table_or_a_list_of_up_to_four() {
        let two = "rate = [{ limit = 10, window_s = 1 }, { limit = 600, window_s = 60, burst = 20 }]";
        let loaded =
            edited(&[(FOR_ALL, two), ("upgrade_url", "rate_headers = \"none\"\nupgrade_url")]).unwrap();
        let rates: Vec<_> = loaded.profile.rate.iter().flat_map(|rates| rates.iter().copied()).collect();
        let expected = [Rate::new(10, 1, None), Rate::new(600, 60, Some(20))].map(Result::unwrap);
        assert_eq!((rates, loaded.rate_headers), (expected.to_vec(), RateHeaders::None));
        for (list, told) in [
            ("rate = []", "rate: expected 1 to 4 rates"),
            (
                "rate = [{ limit = 1, window_s = 1 }, { limit = 2, window_s = 1 }]",
                "rates whose windows differ",
            ),
            ("rate = [1, 2, 3, 4, 5]", "rate: expected at most 4"),
            ("rate = [{ limit = 1, window_s = 0 }]", "rate[0].window_s: expected a whole number from 1"),
            ("rate = [{ limit = -1, window_s = 1 }]", "rate[0].limit: expected a whole number from 0"),
            ("rate = { limit = 1.5, window_s = 1 }", "rate.limit: expected a whole number from 0"),
        ] {
            let problems = edited(&[(FOR_ALL, list)]).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{list}: {problems:?}");
        }
        let headers = edited(&[("upgrade_url", "rate_headers = \"some\"\nupgrade_url")]).unwrap_err();
        assert!(headers[0].contains("expected both, draft or none"), "{headers:?}");
    }

    #[test]
    fn a_route_and_a_tool_may_have_a_rate_of_their_own() {
        let route = format!("{A_ROUTE}\nrate = {{ limit = 3, window_s = 60 }}");
        let tool = format!(
            "{A_TOOL}slow = {{ permission = \"posts:read\", rate = {{ limit = 2, window_s = 9 }} }}\n"
        );
        let profile = edited(&[(A_ROUTE, &route), (A_TOOL, &tool)]).unwrap().profile;
        let rest = profile.rest.as_ref().unwrap();
        let Found::Route(route) = rest.routes.find(Some(Verb::Post), "/v1/ai/rewrite") else { panic!() };
        let rate_of = |bucket: Option<RouteBucketNo>| profile.route_rate(bucket?).map(Rate::limit);
        let tools = &profile.rpc.as_ref().unwrap().tools;
        assert_eq!(rate_of(route.requirement.bucket), Some(3));
        assert_eq!(rate_of(tools["slow"].bucket), Some(2));
        assert!(tools.iter().all(|(name, asked)| name == "slow" || asked.bucket.is_none()));
        let bad = format!("{A_TOOL}slow = {{ rate = {{ limit = 2, window_s = 9 }} }}\n");
        let problems = edited(&[(A_TOOL, &bad)]).unwrap_err();
        assert!(problems[0].contains("`permission` is missing"), "{problems:?}");
    }

    /// The shipped profile after some edits.
    fn edited(edits: &[(&str, &str)]) -> Result<crate::config::LoadedProfile, Vec<String>> {
        let mut text = shipped("socialcrm").unwrap().to_owned();
        for (old, new) in edits {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, new, 1);
        }
        load_profile(&text, "p.toml").map_err(|all| all.iter().map(ToString::to_string).collect())
    }
}
