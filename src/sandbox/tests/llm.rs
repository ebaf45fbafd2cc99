//! A language model that is a server of the test's own: what it is asked, and what becomes of its answers.
//!
//! Never here: a model.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::super::llm::{Llm, LlmError, LlmOptions};

/// A server that takes one request a connection and hands both to the test.
pub(super) struct Model {
    pub(super) url: String,
    connections: mpsc::Receiver<(String, Value, TcpStream)>,
}

impl Model {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(8);
        tokio::spawn(async move {
            // Ends with the test's runtime, or when the test does not listen any more.
            while let Ok((mut stream, _)) = listener.accept().await {
                let (head, body) = request(&mut stream).await;
                if sender.send((head, body, stream)).await.is_err() {
                    return;
                }
            }
        });
        Self { url, connections }
    }

    pub(super) fn options(&self) -> LlmOptions {
        LlmOptions {
            url: self.url.parse().unwrap(),
            model: "small".to_owned(),
            key: Some(Zeroizing::new("hunter2".to_owned())),
            authorities: None,
            wait_max: Duration::from_secs(20),
        }
    }

    /// The next request: its head, its body, and the connection to answer on.
    pub(super) async fn asked(&mut self) -> (String, Value, TcpStream) {
        self.connections.recv().await.unwrap()
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> (String, Value) {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap_or("0").parse::<usize>().unwrap() {
                return (head.to_owned(), serde_json::from_str(body).unwrap());
            }
        }
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the request broke off: {text}");
    }
}

/// A whole answer as it goes over the wire.
pub(super) fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_model_is_asked_with_its_own_key_and_name() {
    let mut model = Model::start().await;
    let llm = Llm::new(model.options()).unwrap();
    let asking = tokio::spawn(async move { llm.complete("Be brief.", "What is two and two?").await });
    let (head, body, mut stream) = model.asked().await;
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("\r\nauthorization: bearer hunter2"), "{head}");
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is two and two?"}
    ]);
    assert_eq!(body, json!({"messages": messages, "model": "small"}));
    let said = json!({"choices": [{"message": {"role": "assistant", "content": "Four."}}]}).to_string();
    stream.write_all(answer("200 OK", "application/json", &said).as_bytes()).await.unwrap();
    assert_eq!(asking.await.unwrap(), Ok("Four.".to_owned()));
}

#[tokio::test]
async fn a_model_behind_tls_is_believed_by_its_authorities_and_by_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, strange) = (folder.path().join("own.pem"), folder.path().join("strange.pem"));
    std::fs::write(&own, made.cert.pem()).unwrap();
    std::fs::write(&strange, other.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls =
        tls.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let serving = tokio::spawn(async move {
        let mut refused = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = tls.accept(stream).await else {
                refused += 1;
                continue;
            };
            request(&mut stream).await;
            let said =
                answer("200 OK", "application/json", r#"{"choices":[{"message":{"content":"Yes."}}]}"#);
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            return refused;
        }
    });
    let plain = Model::start().await.options();
    let of = |file: &std::path::Path| LlmOptions {
        url: url.parse().unwrap(),
        authorities: Some(file.to_owned()),
        ..plain.clone()
    };
    assert_eq!(Llm::new(of(&strange)).unwrap().complete("", "x").await, Err(LlmError::Unreachable));
    assert_eq!(Llm::new(of(&own)).unwrap().complete("", "x").await, Ok("Yes.".to_owned()));
    assert_eq!(serving.await.unwrap(), 1);
    assert!(Llm::new(of(&folder.path().join("absent.pem"))).is_err());
}

#[tokio::test]
async fn what_is_no_good_answer_is_told_apart() {
    let mut model = Model::start().await;
    let llm = Llm::new(model.options()).unwrap();
    let json = "application/json";
    let cases = [
        (answer("400 Bad Request", json, "{}"), LlmError::Invalid(http::StatusCode::BAD_REQUEST)),
        (answer("401 Unauthorized", json, "{}"), LlmError::Refused(http::StatusCode::UNAUTHORIZED)),
        (
            answer("307 Temporary Redirect", json, "{}"),
            LlmError::Refused(http::StatusCode::TEMPORARY_REDIRECT),
        ),
        (answer("500 Oh", json, "{}"), LlmError::Refused(http::StatusCode::INTERNAL_SERVER_ERROR)),
        (answer("200 OK", "text/html", "<p>hello"), LlmError::Broken),
        (answer("200 OK", json, "[1]"), LlmError::Broken),
        (answer("200 OK", json, "{\"choices\":[]}"), LlmError::Broken),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{".to_owned(),
            LlmError::Broken,
        ),
        (answer("200 OK", json, &"x".repeat((4 << 20) + 1)), LlmError::Broken),
        (String::new(), LlmError::Broken),
    ];
    for (wire, expected) in cases {
        let again = llm.clone();
        let asking = tokio::spawn(async move { again.complete("", "x").await });
        let (.., mut stream) = model.asked().await;
        // Whoever has seen enough hangs up.
        let _ = stream.write_all(wire.as_bytes()).await;
        drop(stream);
        assert_eq!(asking.await.unwrap(), Err(expected), "{wire:.60}");
    }
    let gone = LlmOptions { url: "http://127.0.0.1:1/v1".parse().unwrap(), ..model.options() };
    assert_eq!(Llm::new(gone).unwrap().complete("", "x").await, Err(LlmError::Unreachable));
}

#[tokio::test]
async fn a_model_that_is_late_is_given_up() {
    let mut model = Model::start().await;
    let options = LlmOptions { wait_max: Duration::from_millis(20), ..model.options() };
    let llm = Llm::new(options).unwrap();
    assert_eq!(llm.complete("", "x").await, Err(LlmError::Late));
    let (.., mut stream) = model.asked().await;
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or(0), 0, "the call was ended");
}

#[tokio::test]
async fn a_key_that_no_header_takes_is_refused_at_once_and_shown_nowhere() {
    let options = Model::start().await.options();
    let Err(error) = Llm::new(LlmOptions { key: Some(Zeroizing::new("hunter\n2".to_owned())), ..options })
    else {
        panic!("a key with a line's end was taken");
    };
    assert!(!format!("{error} {error:?}").contains("hunter"));
}
