//! What each tool asks: by its own name, by the first pattern that fits it, or nothing, which is closed.
//!
//! A pattern asks one permission of all its tools, or one of three by what a tool's annotations say that it
//! does. Names are compared letter by letter. What decides a call decides a list: there is one question,
//! [`RpcDoor::requirement`].
//!
//! Never here: a tool that is open because its upstream says so; an annotation chooses among permissions and
//! grants none.

use super::{Requirement, RpcDoor};

/// The longest name of a tool that can be open, in bytes. Names come from upstreams and callers.
pub const TOOL_NAME_BYTES_MAX: usize = 256;
/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 128;
/// The most stars in one pattern.
const STARS_MAX: usize = 8;

/// What a tool does, as its annotations say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ToolClass {
    /// It changes nothing.
    Read,
    /// It changes something, or does not say.
    Write,
    /// It says that it destroys something.
    Delete,
}

impl ToolClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// The class of a tool with these hints. A hint that is not given takes nothing away and opens nothing: a tool
    /// that says nothing writes. Whether it destroys means something only where it is not read-only, as MCP has it.
    pub const fn of_hints(read_only: Option<bool>, destructive: Option<bool>) -> Self {
        match (read_only, destructive) {
            (Some(true), _) => Self::Read,
            (_, Some(true)) => Self::Delete,
            _ => Self::Write,
        }
    }

    /// The action that such a tool asks for.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// A pattern of names, in which `*` stands for any run of characters, also for none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePattern(Box<str>);

impl NamePattern {
    /// Reads a pattern; `None` unless it is 1 to [`PATTERN_BYTES_MAX`] of `A-Z`, `a-z`, `0-9`, `_`, `-`, `.`, `/`
    /// and at most eight `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./*".contains(&byte);
        let fits = (1..=PATTERN_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        (fits && text.matches('*').count() <= STARS_MAX).then(|| Self(text.into()))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name fits.
    pub fn fits(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let (middle, tail) = rest.rsplit_once('*').map_or(("", rest), |(middle, tail)| (middle, tail));
        let between = name.strip_prefix(head).and_then(|name| name.strip_suffix(tail));
        let Some(mut left) = between else { return false };
        // Each piece where it first stands: that leaves the most for those behind it.
        for piece in middle.split('*') {
            match left.split_once(piece) {
                Some((_, behind)) => left = behind,
                None => return false,
            }
        }
        true
    }
}

/// What tools under one pattern ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToolTerms {
    /// All the same.
    Same(Requirement),
    /// Each what its class asks: in the order of [`ToolClass::ALL`].
    ByClass([Requirement; 3]),
}

impl ToolTerms {
    /// What a tool of this class asks; `None` while that is not known and would decide it.
    pub const fn of(&self, class: Option<ToolClass>) -> Option<Requirement> {
        match (self, class) {
            (Self::Same(asked), _)
            | (Self::ByClass([asked, _, _]), Some(ToolClass::Read))
            | (Self::ByClass([_, asked, _]), Some(ToolClass::Write))
            | (Self::ByClass([_, _, asked]), Some(ToolClass::Delete)) => Some(*asked),
            (Self::ByClass(_), None) => None,
        }
    }

    /// Every requirement that can come out.
    pub fn requirements_mut(&mut self) -> &mut [Requirement] {
        match self {
            Self::Same(asked) => std::slice::from_mut(asked),
            Self::ByClass(each) => each,
        }
    }

    /// The same.
    pub fn requirements(&self) -> &[Requirement] {
        match self {
            Self::Same(asked) => std::slice::from_ref(asked),
            Self::ByClass(each) => each,
        }
    }
}

/// A rule for all tools of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolPattern {
    /// Which names.
    pub names: NamePattern,
    /// What they ask.
    pub terms: ToolTerms,
}

/// The rule that decides a tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToolRule<'a> {
    /// Its own line.
    Named(&'a Requirement),
    /// The first pattern that fits.
    Pattern(&'a ToolPattern),
    /// None: it is closed.
    Closed,
}

impl RpcDoor {
    /// The rule for the tool of this name.
    pub fn tool_rule(&self, name: &str) -> ToolRule<'_> {
        if let Some(asked) = self.tools.get(name) {
            return ToolRule::Named(asked);
        }
        if !is_tool_name(name) || self.resembles_named(name) {
            return ToolRule::Closed;
        }
        let first = self.tool_patterns.iter().find(|pattern| pattern.names.fits(name));
        first.map_or(ToolRule::Closed, ToolRule::Pattern)
    }

    /// What the tool of this name asks; `None` is closed. `class` is what its annotations say where that is known.
    pub fn requirement(&self, name: &str, class: Option<ToolClass>) -> Option<Requirement> {
        match self.tool_rule(name) {
            ToolRule::Named(asked) => Some(*asked),
            ToolRule::Pattern(pattern) => pattern.terms.of(class),
            ToolRule::Closed => None,
        }
    }

    /// Whether a lenient reader could take a name for that of a tool with a line of its own. A pattern may ask less
    /// than the line does.
    fn resembles_named(&self, name: &str) -> bool {
        let folded: String =
            name.chars().map(|c| if c == 'ſ' { 's' } else { c }).flat_map(char::to_lowercase).collect();
        self.tools.keys().any(|known| known.eq_ignore_ascii_case(&folded))
    }

    /// Whether any tool is asked by what its annotations say.
    pub fn may_ask_for_class(&self) -> bool {
        self.tool_patterns.iter().any(|pattern| matches!(pattern.terms, ToolTerms::ByClass(_)))
    }

    /// Whether what this tool asks depends on its annotations.
    pub fn asks_for_class(&self, name: &str) -> bool {
        matches!(self.tool_rule(name), ToolRule::Pattern(ToolPattern { terms: ToolTerms::ByClass(_), .. }))
    }
}

/// Whether a tool could be open by a pattern: a name that is short enough and shows whole, with nothing at either end
/// that a reader may trim.
fn is_tool_name(name: &str) -> bool {
    (1..=TOOL_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control) && name.trim() == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::{MeterNo, RefusedKeyId};

    fn fits(pattern: &str, name: &str) -> bool {
        NamePattern::parse(pattern).unwrap().fits(name)
    }

    #[test]
    fn a_star_is_any_run_and_all_else_is_itself() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "anything"),
            ("contacts_*", "contacts_"),
            ("contacts_*", "contacts_emails_list"),
            ("*_list", "contacts_list"),
            ("a*b*c", "abc"),
            ("a*b*c", "aXbYbZc"),
            ("*ab*ab*", "xababx"),
            ("a**b", "ab"),
            ("exact", "exact"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("contacts_*", "contacts"),
            ("contacts_*", "Contacts_list"),
            ("contacts_*", "xcontacts_list"),
            ("*_list", "contacts_lists"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("*ab*ab*", "xab"),
            ("exact", "exactly"),
            ("a.b", "aXb"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_fits_as_a_naive_matcher_says() {
        fn naive(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|from| naive(rest, &name[from..])),
                Some((first, rest)) => name.first() == Some(first) && naive(rest, &name[1..]),
            }
        }
        let words = |letters: &[u8], longest: u32| {
            let mut all = vec![Vec::new()];
            for length in 1..=longest {
                let count = letters.len().pow(length);
                all.extend((0..count).map(|number| {
                    (0..length).map(|at| letters[number / letters.len().pow(at) % letters.len()]).collect()
                }));
            }
            all
        };
        for pattern in words(b"ab*", 5).iter().filter(|pattern: &&Vec<u8>| !pattern.is_empty()) {
            let text = std::str::from_utf8(pattern).unwrap();
            for name in words(b"ab", 5) {
                let said = fits(text, std::str::from_utf8(&name).unwrap());
                assert_eq!(said, naive(pattern, &name), "{text} {name:?}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_not_read() {
        for bad in ["", "a b", "a?", "ä*", "a\u{0}", "*********"] {
            assert!(NamePattern::parse(bad).is_none(), "{bad}");
        }
        assert!(NamePattern::parse(&"a".repeat(PATTERN_BYTES_MAX)).is_some());
        assert!(NamePattern::parse(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_none());
    }

    #[test]
    fn only_what_says_that_it_reads_reads_and_what_says_nothing_writes() {
        for (read_only, destructive, class) in [
            (None, None, ToolClass::Write),
            (Some(false), None, ToolClass::Write),
            (None, Some(false), ToolClass::Write),
            (Some(false), Some(false), ToolClass::Write),
            (None, Some(true), ToolClass::Delete),
            (Some(false), Some(true), ToolClass::Delete),
            (Some(true), None, ToolClass::Read),
            (Some(true), Some(false), ToolClass::Read),
            (Some(true), Some(true), ToolClass::Read),
        ] {
            assert_eq!(ToolClass::of_hints(read_only, destructive), class, "{read_only:?} {destructive:?}");
        }
    }

    /// A requirement that can be told from others.
    fn asked(number: u8) -> Requirement {
        Requirement { meter: Some(MeterNo(number)), ..Requirement::default() }
    }

    fn door() -> RpcDoor {
        let pattern = |names: &str, terms| ToolPattern { names: NamePattern::parse(names).unwrap(), terms };
        RpcDoor {
            endpoint: "/mcp".to_owned(),
            sse: None,
            public_paths: Vec::new(),
            keyless_methods: Vec::new(),
            methods: Vec::new(),
            method_requirements: Vec::new(),
            tools: [("contacts_purge".to_owned(), asked(1))].into(),
            tool_patterns: vec![
                pattern("contacts_e*", ToolTerms::Same(asked(2))),
                pattern("contacts_*", ToolTerms::Same(asked(3))),
                pattern("x*", ToolTerms::ByClass([asked(4), asked(5), asked(6)])),
            ],
            refused_key_id: RefusedKeyId::Null,
        }
    }

    #[test]
    fn a_name_stands_over_patterns_and_the_first_that_fits_decides() {
        let door = door();
        for (name, number) in [("contacts_purge", 1), ("contacts_emails", 2), ("contacts_list", 3)] {
            for class in ToolClass::ALL.map(Some).into_iter().chain([None]) {
                assert_eq!(door.requirement(name, class), Some(asked(number)), "{name}");
            }
            assert!(!door.asks_for_class(name), "{name}");
        }
        for name in ["contacts", "Contacts_list", "contacts_list\u{0}", "", "y"] {
            assert_eq!(door.tool_rule(name), ToolRule::Closed, "{name}");
            assert_eq!(door.requirement(name, Some(ToolClass::Read)), None, "{name}");
        }
    }

    #[test]
    fn what_a_lenient_reader_takes_for_a_named_tool_is_open_by_no_pattern() {
        let all = ToolPattern { names: NamePattern::parse("*").unwrap(), terms: ToolTerms::Same(asked(7)) };
        let door = RpcDoor { tool_patterns: vec![all], ..door() };
        for name in [
            "Contacts_purge",
            "contacts_PURGE",
            "contact\u{17f}_purge",
            "contacts_purge ",
            "contacts_purge\u{a0}",
            "contacts_purge\u{2028}",
        ] {
            assert_eq!(door.tool_rule(name), ToolRule::Closed, "{name:?}");
        }
        assert_eq!(door.requirement("contacts_purge", None), Some(asked(1)));
        for name in ["contacts_purge_all", "contacts purge", "contacts_größe"] {
            assert_eq!(door.requirement(name, None), Some(asked(7)), "{name:?}");
        }
    }

    #[test]
    fn a_tool_that_is_mapped_by_class_is_closed_until_that_is_known() {
        let door = door();
        assert!(door.asks_for_class("x1") && door.may_ask_for_class());
        assert_eq!(door.requirement("x1", None), None);
        let of = |class| door.requirement("x1", Some(class));
        assert_eq!(ToolClass::ALL.map(of), [4, 5, 6].map(|number| Some(asked(number))));
    }

    #[test]
    fn a_name_that_is_too_long_is_closed_whatever_fits_it() {
        let door = door();
        let name = |len: usize| format!("contacts_{}", "a".repeat(len - 9));
        assert!(door.requirement(&name(TOOL_NAME_BYTES_MAX), None).is_some());
        assert!(door.requirement(&name(TOOL_NAME_BYTES_MAX + 1), None).is_none());
    }
}
