//! How the tools for posts, media, texts and accounts are listed: titles, schemas, hints.
//!
//! What an output schema says is what the tool gives, field for field.
//!
//! Never here: what a tool does.

use serde_json::{Value, json};

use super::Social;
use crate::sandbox::mcp::schema::{count, data, list_of, moment, object, page, short_text, text};
use crate::sandbox::mcp::tools::{Hints, Listed};
use crate::sandbox::media::{CONTENT_TYPE_CHARS_MAX, FILENAME_CHARS_MAX};
use crate::sandbox::posts::{ACCOUNT_ID_CHARS_MAX, ACCOUNT_IDS_MAX, BODY_CHARS_MAX};
use crate::sandbox::writing::TONE_CHARS_MAX;

impl Social {
    /// The tool as it is listed.
    pub(in crate::sandbox::mcp) fn listed(self) -> Listed {
        let (title, description) = self.said();
        Listed {
            name: self.name().into(),
            title: Some(title.into()),
            description: description.into(),
            input_schema: self.taken(),
            output_schema: Some(self.given()),
            annotations: Some(self.hints()),
        }
    }

    /// Its name.
    pub(in crate::sandbox::mcp) const fn name(self) -> &'static str {
        match self {
            Self::PostsList => "posts_list",
            Self::PostsCreate => "posts_create",
            Self::PostsGet => "posts_get",
            Self::PostsUpdate => "posts_update",
            Self::PostsDelete => "posts_delete",
            Self::PostsSchedule => "posts_schedule",
            Self::PostsPublish => "posts_publish",
            Self::PostsAnalytics => "posts_analytics",
            Self::MediaUploadUrl => "media_upload_url",
            Self::MediaConfirm => "media_confirm",
            Self::AiRewrite => "ai_rewrite",
            Self::AiCompose => "ai_compose",
            Self::AiHashtags => "ai_hashtags",
            Self::AiThread => "ai_thread",
            Self::AiIdeas => "ai_ideas",
            Self::AiOptimise => "ai_optimise",
            Self::AccountsList => "accounts_list",
            Self::AccountsAnalytics => "accounts_analytics",
            Self::PersonaGet => "persona_get",
            Self::TrendingList => "trending_list",
        }
    }

    const fn said(self) -> (&'static str, &'static str) {
        match self {
            Self::PostsList => ("List posts", "Lists the workspace's posts, newest first."),
            Self::PostsCreate => ("Create a post", "Creates a draft post."),
            Self::PostsGet => ("Get a post", "Gets one post."),
            Self::PostsUpdate => ("Update a post", "Changes a post's text, its accounts, or both."),
            Self::PostsDelete => ("Delete a post", "Deletes a post for good."),
            Self::PostsSchedule => ("Schedule a post", "Gives a post the time at which it is published."),
            Self::PostsPublish => ("Publish a post", "Publishes a post now. Here it reaches no network."),
            Self::PostsAnalytics => ("Analytics of a post", "Tells what was counted of one post."),
            Self::MediaUploadUrl => (
                "Get a URL to upload to",
                "Gives a URL that takes one PUT of a file, with this content type, for 15 minutes.",
            ),
            Self::MediaConfirm => ("Confirm an upload", "Says that what was uploaded is wanted."),
            Self::AiRewrite => ("Rewrite a text", "Rewrites a post's text in a tone."),
            Self::AiCompose => ("Compose a text", "Writes the text of a post as asked."),
            Self::AiHashtags => ("Suggest hashtags", "Suggests hashtags for a text."),
            Self::AiThread => ("Make a thread", "Cuts a text into a thread of short posts."),
            Self::AiIdeas => ("Suggest ideas", "Gives ideas for posts about a topic."),
            Self::AiOptimise => ("Optimise a text", "Improves a post's text."),
            Self::AccountsList => ("List accounts", "Lists the connected social accounts."),
            Self::AccountsAnalytics => {
                ("Analytics of all accounts", "Tells what was counted of all posts, and for each account.")
            }
            Self::PersonaGet => ("Get the persona", "Tells how the brand speaks, and to whom."),
            Self::TrendingList => ("List what is trending", "Lists topics that many speak of."),
        }
    }

    /// What it takes.
    fn taken(self) -> Value {
        let id = || text("The post's id, such as posts_list shows it.");
        let body = || short_text(BODY_CHARS_MAX, "The post's text.");
        let account_ids = || {
            json!({
                "type": "array", "minItems": 1, "maxItems": ACCOUNT_IDS_MAX,
                "items": {"type": "string", "minLength": 1, "maxLength": ACCOUNT_ID_CHARS_MAX},
                "description": "The accounts that the post is for."
            })
        };
        let written = |name: &str, description: &str| {
            object(&json!({name: short_text(BODY_CHARS_MAX, description)}), &[name])
        };
        match self {
            Self::PostsList | Self::AccountsList | Self::TrendingList => object(&Value::Object(page()), &[]),
            Self::AccountsAnalytics | Self::PersonaGet => object(&json!({}), &[]),
            Self::PostsCreate => {
                object(&json!({"body": body(), "account_ids": account_ids()}), &["body", "account_ids"])
            }
            Self::PostsUpdate => {
                object(&json!({"id": id(), "body": body(), "account_ids": account_ids()}), &["id"])
            }
            Self::PostsGet | Self::PostsDelete | Self::PostsPublish | Self::PostsAnalytics => {
                object(&json!({"id": id()}), &["id"])
            }
            Self::PostsSchedule => {
                let description = "When it is published: a time in the future.";
                let at = json!({"type": "string", "format": "date-time", "description": description});
                object(&json!({"id": id(), "scheduled_at": at}), &["id", "scheduled_at"])
            }
            Self::MediaUploadUrl => {
                let filename = short_text(FILENAME_CHARS_MAX, "The file's name, without slashes.");
                let kind = short_text(CONTENT_TYPE_CHARS_MAX, "Its media type, such as image/png.");
                object(&json!({"filename": filename, "content_type": kind}), &["filename", "content_type"])
            }
            Self::MediaConfirm => object(&json!({"id": text("The id that media_upload_url gave.")}), &["id"]),
            Self::AiRewrite => {
                let tone = short_text(TONE_CHARS_MAX, "The tone, such as friendly.");
                let text = short_text(BODY_CHARS_MAX, "The text to rewrite.");
                object(&json!({"text": text, "tone": tone}), &["text", "tone"])
            }
            Self::AiCompose => written("prompt", "What the post is to say."),
            Self::AiIdeas => written("topic", "What the posts are to be about."),
            Self::AiHashtags | Self::AiThread | Self::AiOptimise => written("text", "The post's text."),
        }
    }

    /// What it gives.
    fn given(self) -> Value {
        let string = || json!({"type": "string"});
        let written = |name: &str, what: &Value| {
            let properties = json!({"data": object(&json!({name: what}), &[name]), "model": string()});
            object(&properties, &["data", "model"])
        };
        match self {
            Self::PostsList => data(&list_of(&post())),
            Self::PostsCreate
            | Self::PostsGet
            | Self::PostsUpdate
            | Self::PostsSchedule
            | Self::PostsPublish => post(),
            Self::PostsDelete => {
                object(&json!({"id": string(), "deleted": {"const": true}}), &["id", "deleted"])
            }
            Self::PostsAnalytics => {
                let required =
                    ["post_id", "status", "views", "edits", "schedulings", "accounts", "characters"];
                data(&object(
                    &json!({
                        "post_id": string(), "status": status(), "views": count(), "edits": count(),
                        "schedulings": count(), "accounts": count(), "characters": count()
                    }),
                    &required,
                ))
            }
            Self::MediaUploadUrl => {
                let properties = json!({"id": string(), "upload_url": string(), "expires_at": moment()});
                data(&object(&properties, &["id", "upload_url", "expires_at"]))
            }
            Self::MediaConfirm => {
                let properties = json!({"id": string(), "status": {"const": "ready"}, "size": count()});
                data(&object(&properties, &["id", "status", "size"]))
            }
            Self::AiRewrite | Self::AiCompose | Self::AiOptimise => written("text", &string()),
            Self::AiHashtags => written("hashtags", &list_of(&string())),
            Self::AiThread => written("posts", &list_of(&string())),
            Self::AiIdeas => written("ideas", &list_of(&string())),
            Self::AccountsList => {
                let fields = ["id", "platform", "handle", "name", "status"];
                data(&list_of(&texts(&fields)))
            }
            Self::AccountsAnalytics => account_analytics(),
            Self::PersonaGet => data(&object(
                &json!({
                    "name": string(), "voice": string(), "audience": string(),
                    "topics": list_of(&string()), "sample": {"type": "boolean"}
                }),
                &["name", "voice", "audience", "topics", "sample"],
            )),
            Self::TrendingList => {
                let properties =
                    json!({"topic": string(), "hashtag": string(), "sample": {"type": "boolean"}});
                data(&list_of(&object(&properties, &["topic", "hashtag", "sample"])))
            }
        }
    }

    const fn hints(self) -> Hints {
        match self {
            Self::PostsList
            | Self::PostsGet
            | Self::PostsAnalytics
            | Self::AiRewrite
            | Self::AiCompose
            | Self::AiHashtags
            | Self::AiThread
            | Self::AiIdeas
            | Self::AiOptimise
            | Self::AccountsList
            | Self::AccountsAnalytics
            | Self::PersonaGet
            | Self::TrendingList => Hints::READS,
            Self::PostsCreate | Self::MediaUploadUrl => Hints::CREATES,
            Self::PostsUpdate | Self::PostsSchedule | Self::PostsPublish | Self::MediaConfirm => {
                Hints::CHANGES
            }
            Self::PostsDelete => Hints::DELETES,
        }
    }
}

fn status() -> Value {
    json!({"type": "string", "enum": ["draft", "scheduled", "published"]})
}

fn post() -> Value {
    let properties = json!({
        "id": {"type": "string"},
        "status": status(),
        "body": {"type": "string"},
        "account_ids": list_of(&json!({"type": "string"})),
        "created_at": moment(),
        "updated_at": moment(),
        "scheduled_at": moment(),
        "published_at": moment()
    });
    object(&properties, &["id", "status", "body", "account_ids", "created_at", "updated_at"])
}

fn account_analytics() -> Value {
    let tally = || {
        let properties = json!({"draft": count(), "scheduled": count(), "published": count()});
        object(&properties, &["draft", "scheduled", "published"])
    };
    let account = object(&json!({"id": {"type": "string"}, "posts": tally()}), &["id", "posts"]);
    let properties = json!({
        "posts": tally(), "views": count(), "edits": count(), "schedulings": count(),
        "accounts": list_of(&account)
    });
    data(&object(&properties, &["posts", "views", "edits", "schedulings", "accounts"]))
}

/// An object of these fields, all texts.
fn texts(fields: &[&str]) -> Value {
    let properties = fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"})));
    object(&Value::Object(properties.collect()), fields)
}
