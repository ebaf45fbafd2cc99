//! Texts that are written for a caller: rewritten, composed, tagged, cut into a thread.
//!
//! Without a language model they come from plain rules: the same question gets the same answer, and the answer
//! names [`MODEL`] as its model, so that nobody takes it for more.
//!
//! Never here: what a workspace keeps.

mod rules;

use serde::Serialize;
use serde_json::Value;

use super::Sandbox;
use super::chat::MODEL;
use super::failure::Failure;
use super::llm::LlmError;
use super::members::Members;
use super::posts::BODY_CHARS_MAX;

/// The kinds of texts there are.
pub(super) const KINDS: [&str; 6] = ["rewrite", "compose", "hashtags", "thread", "ideas", "optimise"];

/// Characters of a tone at most.
pub(super) const TONE_CHARS_MAX: usize = 100;

/// Entries that are taken of a model's list at most.
const ENTRIES_MAX: usize = 50;

/// What a caller wants written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Rewrite { text: String, tone: String },
    Compose { prompt: String },
    Hashtags { text: String },
    Thread { text: String },
    Ideas { topic: String },
    Optimise { text: String },
}

/// What was written, and by what.
#[derive(Serialize, Debug)]
pub(super) struct Written {
    data: Writing,
    model: String,
}

/// The text or the list that was asked for.
#[derive(Serialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum Writing {
    Text(String),
    Hashtags(Vec<String>),
    Posts(Vec<String>),
    Ideas(Vec<String>),
}

impl Wish {
    /// Reads the wish of this kind, one of [`KINDS`].
    pub(super) fn from_members(kind: &str, members: Members) -> Result<Self, Failure> {
        match kind {
            "rewrite" => Self::rewrite(members),
            "compose" => Ok(Self::Compose { prompt: only(members, "prompt")? }),
            "hashtags" => Ok(Self::Hashtags { text: only(members, "text")? }),
            "thread" => Ok(Self::Thread { text: only(members, "text")? }),
            "ideas" => Ok(Self::Ideas { topic: only(members, "topic")? }),
            "optimise" => Ok(Self::Optimise { text: only(members, "text")? }),
            _ => Err(Failure::NotFound("kind of text")),
        }
    }

    fn rewrite(mut members: Members) -> Result<Self, Failure> {
        members.only(&["text", "tone"])?;
        let text = text_of(&mut members, "text", BODY_CHARS_MAX)?;
        Ok(Self::Rewrite { text, tone: text_of(&mut members, "tone", TONE_CHARS_MAX)? })
    }

    /// What a model is told, and what it is asked.
    fn asked(&self) -> (String, &str) {
        let (task, asked) = match self {
            Self::Rewrite { text, tone } => {
                (format!("Rewrite the text of a social media post. The tone: {tone}."), text)
            }
            Self::Compose { prompt } => {
                ("Write the text of one social media post as asked.".to_owned(), prompt)
            }
            Self::Hashtags { text } => {
                ("Suggest up to five hashtags for this post, one on each line.".to_owned(), text)
            }
            Self::Thread { text } => {
                ("Make a thread of short posts of this text, one on each line.".to_owned(), text)
            }
            Self::Ideas { topic } => {
                ("Give five ideas for posts about this topic, one on each line.".to_owned(), topic)
            }
            Self::Optimise { text } => ("Improve this post so that it reaches more people.".to_owned(), text),
        };
        (format!("{task} Answer with the result alone, without quotes or remarks."), asked)
    }

    /// What a model's answer says. An empty one is none.
    fn said(&self, answer: &str) -> Result<Writing, LlmError> {
        let lines = || answer.lines().map(str::trim).filter(|line| !line.is_empty());
        let kept = |found: Vec<&str>| -> Result<Vec<String>, LlmError> {
            let kept: Vec<_> = found.into_iter().map(ToOwned::to_owned).take(ENTRIES_MAX).collect();
            if kept.is_empty() { Err(LlmError::Broken) } else { Ok(kept) }
        };
        Ok(match self {
            Self::Rewrite { .. } | Self::Compose { .. } | Self::Optimise { .. } => {
                let text = answer.trim();
                if text.is_empty() {
                    return Err(LlmError::Broken);
                }
                Writing::Text(text.to_owned())
            }
            Self::Hashtags { .. } => {
                let words = answer.split_whitespace().map(|word| word.trim_end_matches(','));
                Writing::Hashtags(kept(
                    words.filter(|word| word.len() > 1 && word.starts_with('#')).collect(),
                )?)
            }
            Self::Thread { .. } => Writing::Posts(kept(lines().collect())?),
            Self::Ideas { .. } => Writing::Ideas(kept(lines().collect())?),
        })
    }

    fn by_rules(&self) -> Writing {
        match self {
            Self::Rewrite { text, tone } => Writing::Text(rules::rewrite(text, tone)),
            Self::Compose { prompt } => Writing::Text(rules::compose(prompt)),
            Self::Hashtags { text } => Writing::Hashtags(rules::hashtags(text)),
            Self::Thread { text } => Writing::Posts(rules::thread(text)),
            Self::Ideas { topic } => Writing::Ideas(rules::ideas(topic)),
            Self::Optimise { text } => Writing::Text(rules::optimise(text)),
        }
    }
}

impl Sandbox {
    /// Writes what is wished for, or has the language model write it where there is one.
    pub(super) async fn write(&self, wish: &Wish) -> Result<Written, Failure> {
        let Some(llm) = &self.llm else {
            return Ok(Written { data: wish.by_rules(), model: MODEL.to_owned() });
        };
        let (task, asked) = wish.asked();
        let data = wish.said(&llm.complete(&task, asked).await?)?;
        Ok(Written { data, model: llm.model().to_owned() })
    }
}

fn only(mut members: Members, name: &'static str) -> Result<String, Failure> {
    members.only(&[name])?;
    text_of(&mut members, name, BODY_CHARS_MAX)
}

fn text_of(members: &mut Members, name: &str, chars_max: usize) -> Result<String, Failure> {
    match members.take(name) {
        Some(Value::String(text)) if !text.trim().is_empty() && text.chars().count() <= chars_max => Ok(text),
        _ => Err(Failure::Invalid(format!(
            "{name} must be a text of 1 to {chars_max} characters, not only spaces."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_answer_is_taken_as_a_text_or_line_by_line() {
        let text = || "x".to_owned();
        let cases = [
            (Wish::Compose { prompt: text() }, " Hello.\n", Writing::Text("Hello.".to_owned())),
            (
                Wish::Hashtags { text: text() },
                "Here: #one, #two\n# #three",
                Writing::Hashtags(["#one", "#two", "#three"].map(ToOwned::to_owned).into()),
            ),
            (
                Wish::Thread { text: text() },
                "first\n\n second \n",
                Writing::Posts(["first", "second"].map(ToOwned::to_owned).into()),
            ),
        ];
        for (wish, answer, expected) in cases {
            assert_eq!(wish.said(answer).unwrap(), expected);
            assert_eq!(wish.said(" \n"), Err(LlmError::Broken), "{wish:?}");
        }
    }
}
