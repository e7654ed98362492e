//! Ours: which model servers there are, and which model is the default.

use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tenure_core::price::{LongPrompt, Price, TokenPrices};
use tenure_engine::Provider;

use crate::app::App;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, Given, answer};

const NAME: usize = 256;
const URL: usize = 2_048;
const SECRET: usize = 4_096;

/// `GET /v1/tenure/models`: what each provider offers, or why it can't be asked, and the model that is taken when nobody
/// names one.
pub(crate) async fn list(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let providers = app.engine.providers();
    let (listed, default) = tokio::join!(providers.list(), providers.default_model());
    let print = |(name, found): (&'static str, Result<Vec<tenure_engine::ModelInfo>, tenure_core::model::Failure>)| {
        let offered = |info: tenure_engine::ModelInfo| {
            let facts = providers.facts(&info.id);
            OfferedModel {
                default: info.id == default,
                context_window: facts.context_window,
                price: facts.price.map(ModelPrice::of),
                id: info.id,
                display_name: info.display_name,
            }
        };
        match found {
            Ok(models) => Offer { name, models: models.into_iter().map(offered).collect(), error: None },
            Err(failure) => Offer { name, models: Vec::new(), error: Some(failure.message) },
        }
    };
    let listed = listed.into_iter().map(print).collect();
    Ok(answer(asked, project::json(&ModelList { providers: listed, default: &default })))
}

/// The models there are.
#[derive(Serialize, JsonSchema)]
struct ModelList<'a> {
    /// The one that is taken when nobody names one.
    default: &'a str,
    providers: Vec<Offer>,
}

/// What a provider offers.
#[derive(Serialize, JsonSchema)]
struct Offer {
    name: &'static str,
    models: Vec<OfferedModel>,
    /// Why it can't be asked.
    error: Option<String>,
}

/// A model that can be named.
#[derive(Serialize, JsonSchema)]
struct OfferedModel {
    id: String,
    display_name: Option<String>,
    default: bool,
    /// The most tokens of a request and its reply; null if nobody says.
    context_window: Option<u64>,
    /// What it costs; null if nobody says.
    price: Option<ModelPrice>,
}

/// List prices in dollars, of a million tokens but for the hour.
#[derive(Serialize, JsonSchema)]
struct ModelPrice {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    /// Of an hour in which a session works.
    running_hour: f64,
    /// Of requests with a long prompt, if they have others.
    long: Option<LongPromptPrice>,
}

/// List prices of a million tokens in requests whose input is longer than so many tokens.
#[derive(Serialize, JsonSchema)]
struct LongPromptPrice {
    above: u64,
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
}

impl ModelPrice {
    fn of(price: Price) -> Self {
        // A billionth of a dollar for a token is a thousandth of a dollar for a million of them.
        let dollars = |nanos: u64| nanos as f64 / 1e3;
        let TokenPrices { input, output, cache_read, cache_write_5m, cache_write_1h } = price.tokens;
        let long = price.long.map(|LongPrompt { above, tokens }| LongPromptPrice {
            above,
            input: dollars(tokens.input),
            output: dollars(tokens.output),
            cache_read: dollars(tokens.cache_read),
            cache_write_5m: dollars(tokens.cache_write_5m),
            cache_write_1h: dollars(tokens.cache_write_1h),
        });
        Self {
            input: dollars(input),
            output: dollars(output),
            cache_read: dollars(cache_read),
            cache_write_5m: dollars(cache_write_5m),
            cache_write_1h: dollars(cache_write_1h),
            running_hour: price.running_hour.nanos() as f64 / 1e9,
            long,
        }
    }
}

/// `POST /v1/tenure/models {provider, base_url?, key?}`. The key is sealed and never shown again.
pub(crate) async fn add(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let own_host = asked.header(header::HOST.as_str()).map(str::to_owned);
    let mut fields = asked.object()?;
    let name = fields.required_one_of("provider", &Provider::ALL.map(Provider::name))?;
    let base_url = fields.text("base_url", URL)?.value().filter(|url| !url.is_empty());
    let key = fields.text("key", SECRET)?.value().filter(|key| !key.is_empty());
    if let (Some(url), Some(host)) = (&base_url, own_host)
        && host_of(url).is_some_and(|given| given.eq_ignore_ascii_case(&host))
    {
        return Err(fields.wrong("base_url", "expected the address of a model server, got Tenure's own"));
    }
    drop(fields);
    let provider = Provider::named(name).ok_or_else(Problem::internal)?;
    app.engine.providers().add(provider, base_url, key).await?;
    Ok(answer(asked, project::json(&ModelServer { kind: "model_server", provider: name })))
}

/// Confirms that a model server is known.
#[derive(Serialize, JsonSchema)]
struct ModelServer {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "model_server"))]
    kind: &'static str,
    provider: &'static str,
}

/// `POST /v1/tenure/models/default {model}`; null goes back to what the model servers offer.
pub(crate) async fn set_default(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let mut fields = asked.object()?;
    let model = match fields.text("model", NAME)? {
        Given::Absent => return Err(fields.wrong("model", "expected a model's name or null, but the field is missing")),
        Given::Null => None,
        Given::Value(model) => Some(model),
    };
    drop(fields);
    app.engine.providers().set_default(model).await?;
    let default = app.engine.providers().default_model().await;
    Ok(answer(asked, project::json(&DefaultModel { default })))
}

/// The model that is taken when nobody names one.
#[derive(Serialize, JsonSchema)]
struct DefaultModel {
    default: String,
}

/// `POST /v1/tenure/models/test {model}`: what it said, or why it didn't.
pub(crate) async fn test(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let model = asked.object()?.required_text("model", 1, NAME)?;
    let body = match app.engine.providers().test(model).await? {
        Ok(text) => ModelTest { ok: true, text: Some(text), error: None },
        Err(failure) => ModelTest { ok: false, text: None, error: Some(failure.message) },
    };
    Ok(answer(asked, project::json(&body)))
}

/// What came of asking a model.
#[derive(Serialize, JsonSchema)]
struct ModelTest {
    ok: bool,
    /// What it said, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Why it didn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The host and port of an address, as a `Host` header has them.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

pub(crate) fn describe_list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_models", schemas.of::<ModelList<'_>>())
}

pub(crate) fn describe_add(schemas: &mut Schemas) -> Operation {
    let required = [("provider", schema::one_of(&Provider::ALL.map(Provider::name)))];
    let optional = [
        ("base_url", schema::nullable(schema::text(0, URL))),
        ("key", schema::nullable(schema::said(schema::text(0, SECRET), "Sealed, and never shown again."))),
    ];
    let example = json!({"provider": "openai", "base_url": "http://127.0.0.1:11434/v1"});
    Operation::new("add_model_server", schemas.of::<ModelServer>()).takes(schema::object(required, optional), example)
}

pub(crate) fn describe_set_default(schemas: &mut Schemas) -> Operation {
    let model =
        schema::said(schema::nullable(schema::text(0, NAME)), "Null goes back to what the model servers offer.");
    Operation::new("set_default_model", schemas.of::<DefaultModel>())
        .takes(schema::object([("model", model)], []), json!({"model": "script/demo"}))
}

pub(crate) fn describe_test(schemas: &mut Schemas) -> Operation {
    Operation::new("test_model", schemas.of::<ModelTest>())
        .takes(schema::object([("model", schema::text(1, NAME))], []), json!({"model": "script/demo"}))
}
