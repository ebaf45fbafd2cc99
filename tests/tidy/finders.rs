//! What rules look for in a source: words, paths, runs of tokens.
//!
//! All of them look at product code alone and give one finding for each place.
//!
//! Never here: which word or path is wrong, and where; the rules know that.

use crate::Finding;
use crate::source::{Path, Source};
use crate::tokens::{Kind, Token};

/// A finding for each word of product code that is in `words`.
pub(crate) fn words_among(source: &Source, words: &[&str]) -> Vec<Finding> {
    let tokens = source.product_tokens();
    let named = |token: &&&Token| token.kind == Kind::Word && words.contains(&token.text.as_str());
    tokens
        .iter()
        .filter(named)
        .map(|token| Finding::new(token.line, format!("names {}", token.text)))
        .collect()
}

/// A finding for each path of product code for which `refused` holds.
pub(crate) fn paths_where(source: &Source, refused: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let paths = source.product_paths().filter(|path| refused(path));
    paths.map(|path| Finding::new(path.line, format!("names {}", path.text()))).collect()
}

/// A finding for each place where product code reads like `pattern`; `0` stands for any number.
pub(crate) fn sequences(source: &Source, pattern: &[&str]) -> Vec<Finding> {
    let tokens = source.product_tokens();
    let same = |token: &Token, text: &str| token.is(text) || (text == "0" && token.kind == Kind::Number);
    let places =
        tokens.windows(pattern.len()).filter(|window| window.iter().zip(pattern).all(|(a, b)| same(a, b)));
    places
        .map(|window| {
            let text: String = window.iter().map(|token| token.text.as_str()).collect();
            Finding::new(window[0].line, format!("has `{text}`"))
        })
        .collect()
}
