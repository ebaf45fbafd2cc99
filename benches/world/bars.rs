//! How a bench tells a figure that Keyward is held to, so that `benches/bars` can gather all of them into one table.
//!
//! One line a figure, marked by its first word. Whether a bar holds is told and never enforced: machines are noisy,
//! and a bar that does not hold is a finding for whoever reads the table.

/// What a figure may be.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Nothing is asked of it; it says what another figure is made of.
    Told,
}

/// Tells one figure. `number` is the bar's own, as docs/performance.md lists them; `what` says what was measured, with
/// the unit or what it is a multiple of.
pub(crate) fn tell(number: &str, what: &str, measured: f64, bar: Bar) {
    let (asked, holds) = match bar {
        Bar::Most(most) => (format!("≤ {most}"), if measured <= most { "holds" } else { "MISSED" }),
        Bar::Least(least) => (format!("≥ {least}"), if measured >= least { "holds" } else { "MISSED" }),
        Bar::Told => (String::new(), ""),
    };
    let digits = if measured >= 1_000.0 {
        0
    } else if measured >= 10.0 {
        1
    } else {
        3
    };
    println!("BAR | {number} | {what} | {measured:.digits$} | {asked} | {holds}");
}
