//! The words, marks and numbers of a source, each with its line.
//!
//! Comments are gone, a string or character is one opaque token, and whatever stands under `#[cfg(test)]` is
//! marked.
//!
//! Never here: meaning. What a path leads to is for `source.rs`.

use crate::source::Source;

/// What a token is, as far as a rule can care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Word,
    Number,
    /// A string, byte string or character; its text is not kept.
    Literal,
    Lifetime,
    /// Punctuation: one character, or `::`, `..`, `=>`.
    Mark,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// Stands under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }
}

/// The tokens of a source, test code marked.
pub(crate) fn read(text: &str) -> Vec<Token> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while reader.at < reader.chars.len() {
        reader.step();
    }
    mark_tests(&mut reader.tokens);
    reader.tokens
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, count: usize) {
        let end = (self.at + count).min(self.chars.len());
        self.line += self.chars[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line, in_test: false });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.skip(1);
                }
            }
            ('/', '*') => self.skip_block_comment(),
            ('"', _) => self.skip_string(),
            ('\'', _) => self.skip_quote(),
            (c, _) if c.is_whitespace() => self.skip(1),
            (c, _) if c.is_ascii_digit() => {
                let number = self.take_number();
                self.push(Kind::Number, number, line);
            }
            (c, _) if c.is_alphabetic() || c == '_' => self.take_word(),
            (a, b) => {
                let mark = match (a, b) {
                    (':', ':') => "::".to_owned(),
                    ('.', '.') => "..".to_owned(),
                    ('=', '>') => "=>".to_owned(),
                    _ => a.to_string(),
                };
                self.skip(mark.len());
                self.push(Kind::Mark, mark, line);
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    fn skip_string(&mut self) {
        let line = self.line;
        self.skip(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.skip(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.skip(1);
        self.push(Kind::Literal, String::new(), line);
    }

    fn skip_raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.skip(hashes + 1);
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            if closes {
                self.skip(hashes + 1);
                break;
            }
            self.skip(1);
        }
        self.push(Kind::Literal, String::new(), line);
    }

    /// A character such as `'a'` or `'\n'`, or a lifetime such as `'a`.
    fn skip_quote(&mut self) {
        let line = self.line;
        if self.peek(1) == '\\' {
            self.skip(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.skip(1);
            }
            self.skip(1);
            self.push(Kind::Literal, String::new(), line);
        } else if self.peek(2) == '\'' {
            self.skip(3);
            self.push(Kind::Literal, String::new(), line);
        } else {
            self.skip(1);
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.skip(1);
            }
            self.push(Kind::Lifetime, String::new(), line);
        }
    }

    fn take_number(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_alphanumeric()
            || self.peek(0) == '_'
            || (self.peek(0) == '.' && self.peek(1).is_ascii_digit())
        {
            self.skip(1);
        }
        self.chars[start..self.at].iter().collect()
    }

    /// A word, or the literal that a word such as `br` begins.
    fn take_word(&mut self) {
        let line = self.line;
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.skip(1);
        }
        let word: String = self.chars[start..self.at].iter().collect();
        let is_raw = matches!(word.as_str(), "r" | "br" | "cr");
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        if is_raw && self.peek(hashes) == '"' {
            self.skip_raw_string(hashes);
        } else if matches!(word.as_str(), "b" | "c") && self.peek(0) == '"' {
            self.skip_string();
        } else if word == "b" && self.peek(0) == '\'' {
            self.skip_quote();
        } else if word == "r" && hashes == 1 {
            self.skip(1); // `r#type` is the word `type`
        } else {
            self.push(Kind::Word, word, line);
        }
    }
}

/// Marks every item under an attribute such as `#[cfg(test)]`, or the whole file under `#![cfg(test)]`.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let is_inner = tokens[at].is("#") && tokens.get(at + 1).is_some_and(|next| next.is("!"));
        let open = at + 1 + usize::from(is_inner);
        if !tokens[at].is("#") || !tokens.get(open).is_some_and(|next| next.is("[")) {
            at += 1;
            continue;
        }
        let close = closing(tokens, open);
        if !is_test_cfg(&tokens[open + 1..close]) {
            at = close + 1;
            continue;
        }
        let end = if is_inner { tokens.len() } else { end_of_item(tokens, close + 1) };
        for token in &mut tokens[at..end] {
            token.in_test = true;
        }
        at = end;
    }
}

fn is_test_cfg(attribute: &[Token]) -> bool {
    let names = |word: &str| attribute.iter().any(|token| token.is(word));
    attribute.first().is_some_and(|first| first.is("cfg")) && names("test") && !names("not")
}

/// The place of the bracket that closes the one at `open`, or the last token.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += nesting(token);
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// What a bracket adds to the depth.
pub(crate) fn nesting(token: &Token) -> i32 {
    match token.text.as_str() {
        _ if token.kind != Kind::Mark => 0,
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

/// The place behind the item that starts at `start`: behind its body, its `;`, or a field's or an arm's `,`.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    const ITEMS: [&str; 14] = [
        "pub",
        "mod",
        "fn",
        "use",
        "impl",
        "struct",
        "enum",
        "trait",
        "const",
        "static",
        "type",
        "async",
        "let",
        "macro_rules",
    ];
    let mut at = start;
    while tokens.get(at).is_some_and(|token| token.is("#")) {
        at = closing(tokens, at + 1) + 1;
    }
    let is_item = tokens.get(at).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            _ if token.kind != Kind::Mark => {}
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at),
            ")" | "]" | "}" => return at,
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = Source::new(
        "src/app.rs",
        "// tokio\n/* redb /* redb */ redb */ let a = (\"redb\", r#\"re\"db\"#, b'\\'', 'r', br\"redb\"); fn f<'redb>() {}",
    );
    let words: Vec<_> =
        source.product_tokens().into_iter().filter(|token| token.kind == Kind::Word).collect();
    assert_eq!(words.iter().map(|token| token.text.as_str()).collect::<Vec<_>>(), ["let", "a", "fn", "f"]);
    assert!(words.iter().all(|token| token.line == 2));
}

#[test]
fn test_code_is_no_product_code_and_what_follows_it_is() {
    let source = Source::new(
        "src/app.rs",
        "#[cfg(test)]\n#[allow(x)]\nmod tests { fn hidden(a: [u8; 3]) { { } } }\nfn shown() {}\n\
         #[cfg(test)] mod harness;\nstruct S { #[cfg(test)] hidden: u8, shown: u8 }\n#[cfg(not(test))] fn shown() {}",
    );
    let tokens = source.product_tokens();
    assert!(!tokens.iter().any(|token| token.is("hidden")));
    assert_eq!(tokens.iter().filter(|token| token.is("shown")).count(), 3);
    assert_eq!(source.test_files(), ["src/app/harness.rs", "src/app/harness/mod.rs"]);
    assert!(Source::new("src/app.rs", "#![cfg(test)] fn hidden() {}").product_tokens().is_empty());
}
