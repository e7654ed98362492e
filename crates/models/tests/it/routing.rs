//! Which provider a name leads to, settings that change, and the default model.

use tenure_core::model::{FailureKind, ModelConfig};
use tenure_models::{Endpoint, Models, Secret, Settings, check};

use crate::fake::{Answer, Fake};
use crate::recorded::hello;
use crate::render::{collect, failed};

fn endpoint(base_url: &str) -> Endpoint {
    Endpoint { base_url: base_url.to_owned(), key: Some(Secret::new("k")) }
}

#[tokio::test]
async fn names_lead_to_providers() {
    let fake = Fake::start([]).await;
    let models = fake.models();
    let routed = |name: &str| models.route(name).map(|(provider, model)| (provider.name(), model));
    assert_eq!(routed("claude-sonnet-5"), Ok(("anthropic", "claude-sonnet-5".to_owned())));
    assert_eq!(routed("openai/gpt-5.2"), Ok(("openai", "gpt-5.2".to_owned())));
    assert_eq!(routed("openai/openai/gpt-oss-20b"), Ok(("openai", "openai/gpt-oss-20b".to_owned())));
    assert_eq!(routed("script/demo"), Ok(("script", "demo".to_owned())));
    for unknown in ["", "gpt-5", "openai/", "script/", "claude-", "Claude-sonnet-5", "gemini/x"] {
        let failure = routed(unknown).expect_err(unknown);
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert!(failure.message.contains("expected `claude-…`, `openai/<model>` or `script/<name>`"), "{failure}");
    }
    assert_eq!(check(&ModelConfig::named("gpt-5")).map_err(|invalid| invalid.field), Err("id"));
}

#[tokio::test]
async fn a_missing_key_says_how_to_give_one_and_works_once_given() {
    let models = Models::new(Settings::default()).expect("settings");
    let events = collect(models.stream(hello("claude-sonnet-5"))).await;
    assert_eq!(failed(&events).kind, FailureKind::Authentication);
    assert!(failed(&events).message.contains("set ANTHROPIC_API_KEY or run `tenure models add anthropic`"));

    let fake = Fake::start([Answer::error(400, r#"{"error":{"message":"reached"}}"#)]).await;
    models.set(fake.models().settings()).expect("settings");
    let events = collect(models.stream(hello("claude-sonnet-5"))).await;
    assert!(failed(&events).message.contains("reached"));
    assert!(!format!("{models:?}").contains(crate::fake::KEY), "a key is printed");
}

#[tokio::test]
async fn unusable_addresses_are_refused_and_the_old_settings_stay() {
    let models = Models::new(Settings { openai: Some(endpoint("http://localhost:11434")), ..Settings::default() })
        .expect("settings");
    for (base_url, expected) in [
        ("localhost:11434", "must begin with http:// or https://"),
        ("ftp://example.com", "must begin with http:// or https://"),
        ("", "is no URL"),
        ("http://user:secret@example.com", "must not hold a user name or password"),
        ("http://example.com/?a=b", "must not have a query"),
    ] {
        let failure =
            models.set(Settings { openai: Some(endpoint(base_url)), ..Settings::default() }).expect_err(base_url);
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert!(failure.message.contains(expected) && !failure.message.contains("secret"), "{failure}");
    }
    assert_eq!(models.settings().openai, Some(endpoint("http://localhost:11434")));
}

#[test]
fn an_address_tells_where_it_leads() {
    let place = |url| endpoint(url).host_and_port();
    assert_eq!(place("https://api.anthropic.com"), Ok(("api.anthropic.com".to_owned(), 443)));
    assert_eq!(place("http://127.0.0.1:7717/v1"), Ok(("127.0.0.1".to_owned(), 7717)));
    assert_eq!(place("http://[::1]:7717"), Ok(("::1".to_owned(), 7717)));
}

#[tokio::test]
async fn addresses_are_taken_with_and_without_their_version() {
    let ways = [
        ("claude-sonnet-5", "", "POST /v1/messages HTTP/1.1"),
        ("claude-sonnet-5", "/", "POST /v1/messages HTTP/1.1"),
        ("claude-sonnet-5", "/v1/", "POST /v1/messages HTTP/1.1"),
        ("claude-sonnet-5", "/gateway", "POST /gateway/v1/messages HTTP/1.1"),
        ("openai/qwen3", "", "POST /v1/chat/completions HTTP/1.1"),
        ("openai/qwen3", "/v1/", "POST /v1/chat/completions HTTP/1.1"),
        ("openai/qwen3", "/openai/v1", "POST /openai/v1/chat/completions HTTP/1.1"),
    ];
    for (model, path, line) in ways {
        let mut fake = Fake::start([]).await;
        let endpoint = endpoint(&format!("{}{path}", fake.base_url));
        let settings = Settings { anthropic: Some(endpoint.clone()), openai: Some(endpoint), ..Settings::default() };
        collect(Models::new(settings).expect("settings").stream(hello(model))).await;
        assert_eq!(fake.request().await.line, line, "{path}");
    }
}

#[tokio::test]
async fn the_default_model_is_the_best_there_is() {
    let default = async |settings| Models::new(settings).expect("settings").default_model().await;
    assert_eq!(default(Settings::default()).await, Ok("script/demo".to_owned()));

    let list = r#"{"object":"list","data":[{"id":"nomic-embed-text:latest"},{"id":"qwen3:8b"},{"id":"llama3.2"}]}"#;
    let mut fake = Fake::start([Answer::json(list), Answer::json(r#"{"object":"list","data":null}"#)]).await;
    let only_openai = || Settings { openai: Some(endpoint(&fake.base_url)), ..Settings::default() };
    assert_eq!(default(only_openai()).await, Ok("openai/qwen3:8b".to_owned()));
    assert_eq!(default(only_openai()).await.map_err(|failure| failure.kind), Err(FailureKind::Rejected));
    let request = fake.request().await;
    assert_eq!((request.line.as_str(), request.header("authorization")), ("GET /v1/models HTTP/1.1", Some("Bearer k")));

    let both = fake.models().settings();
    assert_eq!(default(both).await, Ok("claude-sonnet-5".to_owned()));
}

#[tokio::test]
async fn a_list_tells_each_providers_models_or_why_not() {
    let fake = Fake::start([]).await;
    let listed = fake.models().list().await;
    let outcome: Vec<_> = listed.iter().map(|(name, models)| (*name, models.is_ok())).collect();
    assert_eq!(outcome, [("anthropic", false), ("openai", false), ("script", true)]);
}
