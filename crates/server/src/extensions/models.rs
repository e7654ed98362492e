//! Ours: which model servers there are, and which model is the default.

use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use serde_json::{Value, json};
use tenure_engine::Provider;

use crate::app::App;
use crate::dialects::managed_agents::project;
use crate::problem::Problem;
use crate::request::{Asked, Given, answer};

/// `GET /v1/tenure/models`: what each provider offers, or why it can't be asked, and the model that is taken when nobody
/// names one.
pub(crate) async fn list(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let providers = app.engine.providers();
    let (listed, default) = tokio::join!(providers.list(), providers.default_model());
    let print = |(name, found): (&str, Result<Vec<tenure_engine::ModelInfo>, tenure_core::model::Failure>)| match found
    {
        Ok(models) => {
            let models: Vec<Value> = models
                .iter()
                .map(
                    |model| json!({"id": model.id, "display_name": model.display_name, "default": model.id == default}),
                )
                .collect();
            json!({"name": name, "models": models, "error": null})
        }
        Err(failure) => json!({"name": name, "models": [], "error": failure.message}),
    };
    let printed: Vec<Value> = listed.into_iter().map(print).collect();
    Ok(answer(asked, project::json(&json!({"default": default, "providers": printed}))))
}

/// `POST /v1/tenure/models {provider, base_url?, key?}`. The key is sealed and never shown again.
pub(crate) async fn add(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let own_host = asked.header(header::HOST.as_str()).map(str::to_owned);
    let mut fields = asked.object()?;
    let name = fields.required_one_of("provider", &Provider::ALL.map(Provider::name))?;
    let base_url = fields.text("base_url", 2_048)?.value().filter(|url| !url.is_empty());
    let key = fields.text("key", 4_096)?.value().filter(|key| !key.is_empty());
    if let (Some(url), Some(host)) = (&base_url, own_host)
        && host_of(url).is_some_and(|given| given.eq_ignore_ascii_case(&host))
    {
        return Err(fields.wrong("base_url", "expected the address of a model server, got Tenure's own"));
    }
    drop(fields);
    let provider = Provider::named(name).ok_or_else(Problem::internal)?;
    app.engine.providers().add(provider, base_url, key).await?;
    Ok(answer(asked, project::json(&json!({"type": "model_server", "provider": name}))))
}

/// `POST /v1/tenure/models/default {model}`; null goes back to what the model servers offer.
pub(crate) async fn set_default(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let mut fields = asked.object()?;
    let model = match fields.text("model", 256)? {
        Given::Absent => return Err(fields.wrong("model", "expected a model's name or null, but the field is missing")),
        Given::Null => None,
        Given::Value(model) => Some(model),
    };
    drop(fields);
    app.engine.providers().set_default(model).await?;
    let default = app.engine.providers().default_model().await;
    Ok(answer(asked, project::json(&json!({ "default": default }))))
}

/// `POST /v1/tenure/models/test {model}`: what it said, or why it didn't.
pub(crate) async fn test(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let model = asked.object()?.required_text("model", 1, 256)?;
    let body = match app.engine.providers().test(model).await? {
        Ok(text) => json!({"ok": true, "text": text}),
        Err(failure) => json!({"ok": false, "error": failure.message}),
    };
    Ok(answer(asked, project::json(&body)))
}

/// The host and port of an address, as a `Host` header has them.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}
