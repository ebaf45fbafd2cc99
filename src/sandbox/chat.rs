//! What is asked of a language model, and what the sandbox says itself where none is configured.
//!
//! Requests have OpenAI's shape. What this reads of them is checked by name, with or without a model; other
//! fields are let be, since clients send many. The sandbox's own answer follows from the question alone and
//! says that it does: its model is called `keyward-sandbox`, and a token is a word.
//!
//! Never here: HTTP, a guess at what a caller meant.

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::members::{Members, shown};

/// The model of the sandbox's own answers.
pub(super) const MODEL: &str = "keyward-sandbox";

/// Characters of a model's id at most.
pub(super) const MODEL_CHARS_MAX: usize = 200;
/// Messages of one conversation at most.
const MESSAGES_MAX: usize = 2_048;
/// Prompts of one request at most.
const PROMPTS_MAX: usize = 16;
/// Choices of one answer at most.
const CHOICES_MAX: u64 = 8;
/// Characters of a question that an answer repeats.
const REPEATED_CHARS_MAX: usize = 200;
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// A request that was checked.
pub(super) struct Asked {
    /// The questions, one for a conversation.
    pub(super) prompts: Vec<String>,
    /// Tokens of the request.
    pub(super) prompt_tokens: u64,
    /// Answers to each question.
    pub(super) choices: u64,
    /// Tokens of each answer at most.
    pub(super) tokens_max: Option<u64>,
    /// Whether the answer is to come in pieces.
    pub(super) stream: bool,
    /// Whether the pieces end with what was used.
    pub(super) include_usage: bool,
    /// All of it, to pass on.
    pub(super) fields: Map<String, Value>,
}

impl Asked {
    /// Reads `{model, messages, …}`.
    pub(super) fn chat(members: Members) -> Result<Self, Failure> {
        let fields = members.into_map();
        let Some(Value::Array(messages)) = fields.get("messages") else {
            return Err(invalid(format!("messages must be a list of 1 to {MESSAGES_MAX} messages.")));
        };
        if !(1..=MESSAGES_MAX).contains(&messages.len()) {
            return Err(invalid(format!("messages must be a list of 1 to {MESSAGES_MAX} messages.")));
        }
        let (mut question, mut tokens) = (String::new(), 0);
        for (place, message) in messages.iter().enumerate() {
            let (role, text) = read_message(place, message)?;
            tokens += words(&text);
            if role == "user" {
                question = text;
            }
        }
        Self::checked(fields, vec![question], tokens)
    }

    /// Reads `{model, prompt, …}`.
    pub(super) fn completion(members: Members) -> Result<Self, Failure> {
        let fields = members.into_map();
        let wrong = || invalid(format!("prompt must be a text or a list of 1 to {PROMPTS_MAX} texts."));
        let prompts = match fields.get("prompt") {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(texts)) if (1..=PROMPTS_MAX).contains(&texts.len()) => {
                let texts = texts.iter().map(|text| text.as_str().map(ToOwned::to_owned));
                texts.collect::<Option<_>>().ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        let tokens = prompts.iter().map(|prompt| words(prompt)).sum();
        Self::checked(fields, prompts, tokens)
    }

    fn checked(
        fields: Map<String, Value>,
        prompts: Vec<String>,
        prompt_tokens: u64,
    ) -> Result<Self, Failure> {
        match fields.get("model") {
            Some(Value::String(model)) if (1..=MODEL_CHARS_MAX).contains(&model.chars().count()) => {}
            _ => {
                return Err(invalid(format!("model must be a text of 1 to {MODEL_CHARS_MAX} characters.")));
            }
        }
        let switch = |value: Option<&Value>, name: &str| match value {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(is_on)) => Ok(*is_on),
            Some(_) => Err(invalid(format!("{name} must be true or false."))),
        };
        let number = |name: &str, most: u64| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().filter(|number| (1..=most).contains(number)) {
                Some(number) => Ok(Some(number)),
                None => Err(invalid(format!("{name} must be a whole number from 1 to {most}."))),
            },
        };
        let include_usage = match fields.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(Value::Object(options)) => {
                switch(options.get("include_usage"), "stream_options.include_usage")?
            }
            Some(_) => return Err(invalid("stream_options must be an object.".to_owned())),
        };
        let tokens_max = number("max_tokens", u32::MAX.into())?;
        Ok(Self {
            prompts,
            prompt_tokens,
            choices: number("n", CHOICES_MAX)?.unwrap_or(1),
            tokens_max: number("max_completion_tokens", u32::MAX.into())?.or(tokens_max),
            stream: switch(fields.get("stream"), "stream")?,
            include_usage,
            fields,
        })
    }

    /// What the sandbox says to each question, as often as was asked for.
    pub(super) fn answered_by_rules(&self) -> Vec<Reply> {
        let each = |prompt: &String| {
            let reply = Reply::to(prompt, self.tokens_max);
            (0..self.choices).map(move |_| reply.clone())
        };
        self.prompts.iter().flat_map(each).collect()
    }

    /// What was used, as OpenAI writes it.
    pub(super) fn usage(&self, replies: &[Reply]) -> Value {
        let completion: u64 = replies.iter().map(|reply| reply.pieces.len() as u64).sum();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion
        })
    }
}

/// What the sandbox says.
#[derive(Clone)]
pub(super) struct Reply {
    /// Its tokens: words, each with the space behind it.
    pub(super) pieces: Vec<String>,
    /// `stop`, or `length` where it was cut.
    pub(super) finish: &'static str,
}

impl Reply {
    fn to(prompt: &str, tokens_max: Option<u64>) -> Self {
        let repeated: String = prompt.trim().chars().take(REPEATED_CHARS_MAX).collect();
        let text = if repeated.is_empty() {
            "You asked nothing. ".to_owned()
        } else {
            format!("You asked: {repeated:?} ")
        };
        let text = text
            + "This is Keyward's sandbox: it answers by plain rules, until a language model is configured.";
        let all: Vec<_> = text.split_inclusive(' ').map(ToOwned::to_owned).collect();
        let most = tokens_max.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let finish = if all.len() > most { "length" } else { "stop" };
        Self { pieces: all.into_iter().take(most).collect(), finish }
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// The role and the text of one message.
fn read_message(place: usize, message: &Value) -> Result<(&str, String), Failure> {
    let Value::Object(message) = message else {
        return Err(invalid(format!("messages[{place}] must be an object.")));
    };
    let role = match message.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.as_str(),
        Some(Value::String(role)) => {
            let known = ROLES.join(", ");
            return Err(invalid(format!(
                "messages[{place}].role must be one of {known}, not {}.",
                shown(role)
            )));
        }
        _ => return Err(invalid(format!("messages[{place}].role must be one of {}.", ROLES.join(", ")))),
    };
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let texts = parts.iter().enumerate().map(|(part, value)| read_part(place, part, value));
            texts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>().join("\n")
        }
        // An assistant that called a tool said nothing.
        None | Some(Value::Null) if role == "assistant" => String::new(),
        _ => {
            return Err(invalid(format!("messages[{place}].content must be a text or a list of parts.")));
        }
    };
    Ok((role, text))
}

/// The text of one part; a picture or a sound has none.
fn read_part(place: usize, part: usize, value: &Value) -> Result<Option<&str>, Failure> {
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    match field("type") {
        Some("text") => match field("text") {
            Some(text) => Ok(Some(text)),
            None => Err(invalid(format!("messages[{place}].content[{part}].text must be a text."))),
        },
        Some(_) => Ok(None),
        None => Err(invalid(format!("messages[{place}].content[{part}].type must be a text."))),
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn invalid(message: String) -> Failure {
    Failure::Invalid(message)
}
