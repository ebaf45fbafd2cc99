//! The plain rules that write where no language model does.
//!
//! They tidy, they cut and they fill in: nothing is understood. The same text always gives the same result.
//!
//! Never here: randomness, a network.

/// Characters of one post of a thread at most, its number included.
const THREAD_POST_CHARS_MAX: usize = 240;
/// Characters of that which the number takes: `123/456 `.
const THREAD_NUMBER_CHARS: usize = 12;

/// Hashtags that are suggested at most.
const HASHTAGS_MAX: usize = 5;
/// Hashtags that are added to a post at most.
const HASHTAGS_ADDED_MAX: usize = 3;
/// Characters that a word must have to become a hashtag.
const HASHTAG_CHARS_MIN: usize = 4;

/// Words that say nothing about a text.
const FILLERS: [&str; 24] = [
    "about", "after", "also", "been", "before", "from", "have", "here", "into", "just", "more", "only",
    "over", "that", "their", "them", "then", "there", "they", "this", "what", "when", "with", "your",
];

/// The text tidied, with words of the tone around it.
pub(super) fn rewrite(text: &str, tone: &str) -> String {
    let tidied = tidied(text);
    match tone.trim().to_lowercase().as_str() {
        "friendly" => format!("Hi there! {tidied}"),
        "professional" | "formal" => format!("Please note: {tidied}"),
        "excited" | "enthusiastic" => format!("{}!", tidied.trim_end_matches(['.', '!'])),
        "neutral" => tidied,
        other => format!("In a tone that is {other}: {tidied}"),
    }
}

/// The prompt as a post, with hashtags out of its own words.
pub(super) fn compose(prompt: &str) -> String {
    with_hashtags(tidied(prompt))
}

/// The text tidied, with hashtags that it does not have yet.
pub(super) fn optimise(text: &str) -> String {
    with_hashtags(tidied(text))
}

/// The longer words of a text, each once, in their order.
pub(super) fn hashtags(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|letter: char| !letter.is_alphanumeric()) {
        let word = word.to_lowercase();
        if word.chars().count() < HASHTAG_CHARS_MIN || FILLERS.contains(&word.as_str()) {
            continue;
        }
        let hashtag = format!("#{word}");
        if !found.contains(&hashtag) {
            found.push(hashtag);
        }
        if found.len() == HASHTAGS_MAX {
            break;
        }
    }
    found
}

/// The text cut between its words into numbered posts.
pub(super) fn thread(text: &str) -> Vec<String> {
    let most = THREAD_POST_CHARS_MAX - THREAD_NUMBER_CHARS;
    let mut pieces: Vec<String> = Vec::new();
    let mut piece = String::new();
    let mut chars = 0;
    for word in text.split_whitespace().flat_map(|word| cut(word, most)) {
        let more = word.chars().count();
        if chars > 0 && chars + 1 + more > most {
            pieces.push(std::mem::take(&mut piece));
            chars = 0;
        }
        if chars > 0 {
            piece.push(' ');
            chars += 1;
        }
        piece.push_str(&word);
        chars += more;
    }
    pieces.push(piece);
    let all = pieces.len();
    pieces.iter().enumerate().map(|(place, piece)| format!("{}/{all} {piece}", place + 1)).collect()
}

/// Five ideas that fit any topic.
pub(super) fn ideas(topic: &str) -> Vec<String> {
    let topic = topic.split_whitespace().collect::<Vec<_>>().join(" ");
    [
        format!("Three things that people get wrong about {topic}"),
        format!("How we started with {topic}"),
        format!("A day behind the scenes of {topic}"),
        format!("The question about {topic} that we hear most"),
        format!("What {topic} will look like in five years"),
    ]
    .into()
}

/// One space between words, a capital letter at the beginning, a sign at the end.
fn tidied(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len() + 1);
    for word in text.split_whitespace() {
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    let mut letters = tidied.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let mut tidied = first + letters.as_str();
    if tidied.ends_with(char::is_alphanumeric) && !last_word(&tidied).starts_with('#') {
        tidied.push('.');
    }
    tidied
}

fn last_word(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default()
}

fn with_hashtags(text: String) -> String {
    let has = |hashtag: &String| text.to_lowercase().contains(hashtag.as_str());
    let added: Vec<_> =
        hashtags(&text).into_iter().filter(|hashtag| !has(hashtag)).take(HASHTAGS_ADDED_MAX).collect();
    if added.is_empty() { text } else { format!("{text} {}", added.join(" ")) }
}

fn cut(word: &str, chars_max: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(chars_max).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_tidied_and_given_words_of_its_tone() {
        for (text, tone, expected) in [
            ("buy now", "friendly", "Hi there! Buy now."),
            (" buy \n now! ", "Friendly", "Hi there! Buy now!"),
            ("buy now", "formal", "Please note: Buy now."),
            ("buy now.", "excited", "Buy now!"),
            ("émile", "neutral", "Émile."),
            ("buy #now", "neutral", "Buy #now"),
            ("buy now", "dry", "In a tone that is dry: Buy now."),
        ] {
            assert_eq!(rewrite(text, tone), expected);
        }
    }

    #[test]
    fn hashtags_are_the_longer_words_each_once() {
        assert_eq!(
            hashtags("This Launch! is the launch that WE planned, with coffee"),
            ["#launch", "#planned", "#coffee"]
        );
        assert_eq!(hashtags("a b c"), Vec::<String>::new());
        assert_eq!(hashtags("alpha bravo charlie delta echoes foxtrot").len(), HASHTAGS_MAX);
        assert_eq!(compose("launch day"), "Launch day. #launch");
        assert_eq!(optimise("our #launch is big"), "Our #launch is big.");
    }

    #[test]
    fn a_thread_loses_no_word_and_no_post_is_too_long() {
        let text: Vec<String> = (0..300).map(|number| format!("word{number}")).collect();
        let posts = thread(&text.join("  "));
        assert!(posts.len() > 5 && posts.iter().all(|post| post.chars().count() <= THREAD_POST_CHARS_MAX));
        let words: Vec<&str> = posts.iter().flat_map(|post| post.split(' ').skip(1)).collect();
        assert_eq!(words, text);
        assert!(posts[0].starts_with(&format!("1/{} word0 ", posts.len())), "{}", posts[0]);

        let posts = thread(&"é".repeat(1000));
        assert!(posts.iter().all(|post| post.chars().count() <= THREAD_POST_CHARS_MAX));
        assert_eq!(posts.concat().matches('é').count(), 1000);
        assert_eq!(thread("short"), ["1/1 short"]);
    }

    #[test]
    fn ideas_name_their_topic() {
        let ideas = ideas(" home \n coffee");
        assert!(ideas.len() == 5 && ideas.iter().all(|idea| idea.contains("home coffee")));
    }
}
