//! A source file as the rules see it: its tokens, and the paths they spell.
//!
//! A path is resolved through `use`, `self` and `super`: what is imported under another name is still seen as
//! what it is. Rules about product code ask for the product's tokens and paths and never see what stands
//! under `#[cfg(test)]`.
//!
//! Never here: an opinion. This file reads, the rules judge. It is no Rust parser either: paths that a macro
//! glues together stay unseen, and the compiler's own lints stand behind the rules where that matters.

use std::collections::HashMap;

use crate::tokens::{Kind, Token, closing, nesting, read};

/// A path as the code spells it, with the first segment resolved.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// `crate` first for a path inside the package; `*` last for a glob.
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) in_use: bool,
    pub(crate) in_test: bool,
}

impl Path {
    pub(crate) fn starts_with(&self, start: &[&str]) -> bool {
        self.segments.len() >= start.len() && self.segments.iter().zip(start).all(|(a, b)| a == b)
    }

    pub(crate) fn ends_with(&self, end: &[&str]) -> bool {
        self.segments.len() >= end.len()
            && self.segments.iter().rev().zip(end.iter().rev()).all(|(a, b)| a == b)
    }

    /// Whether this path goes into the named crate. A lone word counts only in a `use`: elsewhere it may be a
    /// field.
    pub(crate) fn enters(&self, name: &str) -> bool {
        (self.in_use || self.segments.len() > 1) && self.starts_with(&[name])
    }

    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// One file under `src/`.
pub(crate) struct Source {
    /// From the package's root, with `/`: `src/domain/key.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    tokens: Vec<Token>,
    paths: Vec<Path>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let tokens = read(text);
        let paths = paths(&tokens, &module_of(path));
        Self { path: path.to_owned(), text: text.to_owned(), tokens, paths }
    }

    /// The path's parts below `src/`.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').skip(1)
    }

    /// The room that this file belongs to, by its place: `key` of `src/domain/key.rs` is in `domain`.
    pub(crate) fn room(&self) -> &str {
        let first = self.parts().next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Product code, token by token.
    pub(crate) fn product_tokens(&self) -> Vec<&Token> {
        self.tokens.iter().filter(|token| !token.in_test).collect()
    }

    /// The paths that product code spells.
    pub(crate) fn product_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|path| !path.in_test)
    }

    /// The files that `#[cfg(test)] mod name;` lines of this file name: each could lie in two places.
    pub(crate) fn test_files(&self) -> Vec<String> {
        let mut directory = vec!["src".to_owned()];
        directory.extend(module_of(&self.path));
        let directory = directory.join("/");
        let declared = self.tokens.windows(3).filter(|three| {
            three[0].in_test && three[0].is("mod") && three[1].kind == Kind::Word && three[2].is(";")
        });
        declared
            .flat_map(|three| {
                let name = &three[1].text;
                [format!("{directory}/{name}.rs"), format!("{directory}/{name}/mod.rs")]
            })
            .collect()
    }
}

/// The module that a file is: `src/domain/key.rs` is `domain::key`, `src/lib.rs` the root.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let stem = inside.strip_suffix(".rs").unwrap_or(inside);
    let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    let is_root = module.len() == 1 && (stem == "lib" || stem == "main");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Every path of the file, with `use` trees spread out and first segments resolved.
fn paths(tokens: &[Token], module: &[String]) -> Vec<Path> {
    let mut scan = Scan {
        tokens,
        module: module.to_vec(),
        inline: Vec::new(),
        paths: Vec::new(),
        imports: HashMap::new(),
    };
    scan.run();
    for path in &mut scan.paths {
        let import = path.segments.first().and_then(|head| scan.imports.get(head));
        if let Some(import) = import.filter(|_| path.segments.len() > 1) {
            path.segments.splice(..1, import.iter().cloned());
        }
    }
    for path in &mut scan.paths {
        path.segments.retain(|segment| !segment.is_empty());
    }
    scan.paths
}

struct Scan<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
    /// Inline modules that are open, each with the brace depth outside it.
    inline: Vec<(String, i32)>,
    paths: Vec<Path>,
    /// What product code calls an import, and what it is.
    imports: HashMap<String, Vec<String>>,
}

impl Scan<'_> {
    fn run(&mut self) {
        let (mut at, mut depth) = (0, 0);
        while let Some(token) = self.tokens.get(at) {
            let opens_module = token.is("mod") && self.mark(at + 2, "{");
            if opens_module {
                self.inline.push((self.tokens[at + 1].text.clone(), depth));
                at += 2;
                continue;
            }
            depth += nesting(token);
            if self.inline.last().is_some_and(|(_, outside)| token.is("}") && *outside == depth) {
                self.inline.pop();
            }
            at = if token.is("use") && !self.mark(at + 1, "<") {
                self.tree(at + 1, &[])
            } else if token.kind == Kind::Word && self.begins_path(at) {
                self.plain(at)
            } else {
                at + 1
            };
        }
    }

    fn mark(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(text))
    }

    /// A word begins a path unless a path or a value stands right before it.
    fn begins_path(&self, at: usize) -> bool {
        !(at > 0 && (self.mark(at - 1, ".") || self.mark(at - 1, "::")))
            || (at > 1
                && self.mark(at - 1, "::")
                && !self.mark(at - 2, ">")
                && self.tokens[at - 2].kind != Kind::Word)
    }

    fn plain(&mut self, start: usize) -> usize {
        let mut segments = Vec::new();
        if start > 0 && self.mark(start - 1, "::") {
            segments.push(String::new()); // `::http` is the crate, whatever is imported as `http`
        }
        segments.push(self.tokens[start].text.clone());
        let mut at = start + 1;
        while self.mark(at, "::") && self.tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Word) {
            segments.push(self.tokens[at + 1].text.clone());
            at += 2;
        }
        self.add(start, segments, false);
        at
    }

    /// One branch of a `use`; gives the place behind it.
    fn tree(&mut self, start: usize, before: &[String]) -> usize {
        let mut segments = before.to_vec();
        let mut at = start;
        while let Some(token) = self.tokens.get(at) {
            if token.is("{") {
                let close = closing(self.tokens, at);
                let mut branch = at + 1;
                while branch < close {
                    branch = if self.mark(branch, ",") { branch + 1 } else { self.tree(branch, &segments) };
                }
                return close + 1;
            }
            if token.is("::") {
                if segments.is_empty() {
                    segments.push(String::new());
                }
            } else if token.kind == Kind::Word || token.is("*") {
                if !token.is("self") || segments.is_empty() {
                    segments.push(token.text.clone());
                }
            } else {
                break;
            }
            at += 1;
            if self.mark(at, "as") {
                break;
            }
        }
        let mut name = segments.last().cloned().unwrap_or_default();
        if self.mark(at, "as") {
            name.clone_from(&self.tokens[at + 1].text);
            at += 2;
        }
        if segments.is_empty() {
            return at.max(start + 1);
        }
        let resolved = self.add(at - 1, segments, true);
        if !self.tokens[at - 1].in_test {
            self.imports.insert(name, resolved);
        }
        at
    }

    fn add(&mut self, at: usize, segments: Vec<String>, in_use: bool) -> Vec<String> {
        let segments = self.resolve(segments);
        self.paths.push(Path {
            segments: segments.clone(),
            line: self.tokens[at].line,
            in_use,
            in_test: self.tokens[at].in_test,
        });
        segments
    }

    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let mut module = self.module.clone();
        module.extend(self.inline.iter().map(|(name, _)| name.clone()));
        let ups = segments.iter().take_while(|segment| matches!(segment.as_str(), "self" | "super")).count();
        let is_value = segments == ["self"]; // the receiver of a method
        let rest = match segments.first().map(String::as_str) {
            Some("crate" | "keyward") => {
                module.clear();
                &segments[1..]
            }
            Some("self" | "super") if !is_value => {
                let supers = segments[..ups].iter().filter(|segment| *segment == "super").count();
                module.truncate(module.len().saturating_sub(supers));
                &segments[ups..]
            }
            _ => return segments,
        };
        let mut resolved = vec!["crate".to_owned()];
        resolved.extend(module);
        resolved.extend_from_slice(rest);
        resolved
    }
}

#[test]
fn every_way_to_spell_a_path_is_resolved() {
    let spelled = |path: &str, text: &str| -> Vec<String> {
        Source::new(path, text)
            .product_paths()
            .filter(|p| p.in_use || p.segments.len() > 1)
            .map(Path::text)
            .collect()
    };
    assert_eq!(
        spelled("src/http/mod.rs", "use crate::{domain::{self, key::*}, store as s}; fn f() { s::open() }"),
        ["crate::domain", "crate::domain::key::*", "crate::store", "crate::store::open"]
    );
    assert_eq!(spelled("src/engine/pool.rs", "use super::super::store::Row;"), ["crate::store::Row"]);
    assert_eq!(
        spelled("src/clock.rs", "mod a { use super::b; } use super::c;"),
        ["crate::clock::b", "crate::c"]
    );
    assert_eq!(spelled("src/main.rs", "fn main() { keyward::cli::run() }"), ["crate::cli::run"]);
    assert_eq!(
        spelled("src/app.rs", "use std::{env, fs}; f(0..env::A)"),
        ["std::env", "std::fs", "std::env::A"]
    );
    assert_eq!(
        spelled("src/app.rs", "use crate::http; fn f(x: ::http::Uri, y: http::Peer) {}"),
        ["crate::http", "http::Uri", "crate::http::Peer"]
    );
}
