//! A model: its name, or an object with settings.

use serde_json::Value;
use tenure_core::model::{Effort, ModelConfig, Speed};
use tenure_engine::ModelChange;

use super::super::wire::EFFORTS;
use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

pub(in super::super) const NAME: usize = 256;
pub(in super::super) const GEO: usize = 64;

/// Reads a value that came as a model.
pub(super) fn model(fields: &mut Fields<'_>, value: Value) -> Result<ModelChange, Problem> {
    let path = fields.at("model");
    let config = match value {
        Value::String(id) => return Ok(ModelChange { model: named(&path, id)?, keeps_effort: true }),
        value @ Value::Object(_) => value,
        other => {
            let given = describe(&other);
            return Err(Problem::invalid(&path, format!("expected a model's name or an object, got {given}")));
        }
    };
    let mut given = fields.nested(path, config)?;
    let id = given.required_string("id")?;
    let mut config = named(&given.at("id"), id)?;
    let effort = effort(&mut given)?;
    let keeps_effort = effort == Given::Absent;
    config.effort = effort.value();
    config.speed = match given.one_of("speed", &["standard", "fast"])?.value() {
        Some("fast") => Speed::Fast,
        Some(_) | None => Speed::Standard,
    };
    config.inference_geo = given.text("inference_geo", GEO)?.value().filter(|geo| !geo.is_empty());
    config.temperature = temperature(&mut given)?;
    config.max_tokens = given.integer("max_tokens", 1, u64::from(u32::MAX))?.value().map(|most| most as u32);
    Ok(ModelChange { model: config, keeps_effort })
}

fn named(path: &str, id: String) -> Result<ModelConfig, Problem> {
    let length = id.chars().count();
    if (1..=NAME).contains(&length) && !id.chars().any(char::is_control) {
        return Ok(ModelConfig::named(id));
    }
    Err(Problem::invalid(
        path,
        format!("expected a model's name such as `claude-sonnet-5` or `openai/<model>`, got {length} characters"),
    ))
}

fn effort(model: &mut Fields<'_>) -> Result<Given<Effort>, Problem> {
    let level = match model.take("effort") {
        Given::Absent => return Ok(Given::Absent),
        Given::Null => return Ok(Given::Null),
        Given::Value(value @ Value::Object(_)) => {
            let path = model.at("effort");
            model.nested(path, value)?.required_one_of("type", EFFORTS)?
        }
        Given::Value(Value::String(level)) => match EFFORTS.iter().find(|known| **known == level) {
            Some(level) => level,
            None => return Err(wrong_effort(model, &Value::String(level))),
        },
        Given::Value(other) => return Err(wrong_effort(model, &other)),
    };
    Ok(Given::Value(match level {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        _ => Effort::High,
    }))
}

fn wrong_effort(model: &Fields<'_>, given: &Value) -> Problem {
    let given = describe(given);
    model.wrong("effort", format!("expected `low`, `medium`, `high`, `xhigh` or `max`, got {given}"))
}

/// Ours. The model's own range, where its name tells it, is checked when it is known which provider it goes to.
fn temperature(model: &mut Fields<'_>) -> Result<Option<f64>, Problem> {
    let Some(value) = model.take("temperature").value() else { return Ok(None) };
    match value.as_f64() {
        Some(temperature) if (0.0..=2.0).contains(&temperature) => Ok(Some(temperature)),
        _ => Err(model.wrong("temperature", format!("expected a number from 0 to 2, got {}", describe(&value)))),
    }
}
