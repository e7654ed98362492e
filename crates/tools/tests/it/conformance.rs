//! What holds for every tool.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tenure_core::id::ItemId;
use tenure_sandbox::{CallEnd, Error, Exit};
use tenure_tools::{ToolError, ToolLimits, registry};
use tokio_util::sync::CancellationToken;

use crate::fake::{Fake, Played};

/// An input that every tool takes: of each kind of field something plausible.
fn valid_input(schema: &Value) -> Value {
    let properties = schema["properties"].as_object().expect("properties");
    let values = properties.iter().filter(|(name, _)| *name != "restart").map(|(name, property)| {
        let value = match property["type"].as_str().expect("a type") {
            "string" => json!(format!("{name}.txt")),
            "boolean" => json!(false),
            "integer" => json!(1000),
            "array" => json!([1, 2]),
            other => panic!("{other}"),
        };
        (name.clone(), value)
    });
    Value::Object(values.collect())
}

#[tokio::test]
async fn an_input_that_is_no_object_is_told_to_the_model() {
    for tool in registry() {
        for input in [json!(null), json!("text"), json!([1]), json!(5)] {
            let fake = Fake::new();
            let error = tool.run(fake.ctx(), input.clone()).await.expect_err("no object");
            let ToolError::Model(message) = error else { panic!("{error:?}") };
            assert!(message.contains("expected a JSON object"), "{message}");
            assert!(fake.orders().is_empty());
        }
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named_with_what_was_expected_and_what_came() {
    for tool in registry() {
        let spec = tool.spec();
        for (name, property) in spec.input_schema["properties"].as_object().expect("properties") {
            for wrong in [json!({ "an": "object" }), json!(-1.5), json!([1, "x", 3]), json!(["a", "b"])] {
                let fake = Fake::new();
                let mut input = valid_input(&spec.input_schema);
                input[name] = wrong.clone();
                let error = tool.run(fake.ctx(), input).await.expect_err("a wrong type");
                let ToolError::Model(message) = error else { panic!("{error:?}") };
                let start = format!("{}: `{name}`: expected ", spec.name);
                assert!(message.starts_with(&start), "{message} for {property}");
                assert!(message.ends_with(&wrong.to_string()), "{message}");
                assert!(fake.orders().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_missing_required_field_is_named() {
    for tool in registry() {
        let spec = tool.spec();
        for name in spec.input_schema["required"].as_array().expect("a list") {
            let name = name.as_str().expect("a name");
            for missing in [None, Some(Value::Null)] {
                let mut input = valid_input(&spec.input_schema);
                let fields = input.as_object_mut().expect("an object");
                fields.remove(name);
                fields.extend(missing.map(|value| (name.to_owned(), value)));
                let error = tool.run(Fake::new().ctx(), input).await.expect_err("a missing field");
                let ToolError::Model(message) = error else { panic!("{error:?}") };
                assert!(message.starts_with(&format!("{}: `{name}` is required", spec.name)), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_fields_and_nulls_are_no_error() {
    for tool in registry() {
        let spec = tool.spec();
        let fake = Fake::new();
        fake.plays_exit(answer("fine"));
        let mut input = valid_input(&spec.input_schema);
        let fields = input.as_object_mut().expect("an object");
        fields.insert("explanation".to_owned(), json!("models do this"));
        for name in ["restart", "view_range", "replace_all", "path"] {
            if spec.input_schema["properties"].get(name).is_some() {
                fields.insert(name.to_owned(), Value::Null);
            }
        }
        tool.run(fake.ctx(), input).await.expect("a result");
    }
}

/// An exit that is an answer for a file tool as well as for the shell.
fn answer(text: &str) -> Exit {
    Exit { code: Some(0), stdout: format!("text/plain\n{text}").into_bytes(), ..Exit::default() }
}

#[tokio::test]
async fn the_order_carries_the_calls_name_its_limits_and_when_it_was_asked() {
    for tool in registry() {
        let fake = Fake::new();
        fake.plays_exit(answer("fine"));
        let asked_at = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let mut ctx = fake.ctx();
        ctx.call = ItemId::from_bits(99);
        ctx.asked_at = Some(asked_at);
        ctx.limits = ToolLimits { default_timeout: Duration::from_secs(9), ..ToolLimits::default() };
        let mut input = valid_input(&tool.spec().input_schema);
        input.as_object_mut().expect("an object").remove("timeout_ms");
        tool.run(ctx, input).await.expect("a result");
        let [order] = <[_; 1]>::try_from(fake.orders()).expect("one order");
        assert_eq!((order.call, order.asked_at), (ItemId::from_bits(99), Some(asked_at)));
        assert_eq!(order.timeout, Some(Duration::from_secs(9)));
        assert!(order.output_cap_bytes >= ToolLimits::default().output_cap_bytes);
    }
}

#[tokio::test]
async fn an_interrupted_call_is_neither_success_nor_failure() {
    for tool in registry() {
        let fake = Fake::new();
        fake.play(Played::End(Ok(CallEnd::Interrupted { reason: "the machine restarted".to_owned() })));
        let error = tool.run(fake.ctx(), valid_input(&tool.spec().input_schema)).await.expect_err("an interruption");
        assert!(matches!(&error, ToolError::Interrupted { reason } if reason == "the machine restarted"), "{error:?}");
    }
}

#[tokio::test]
async fn a_failing_sandbox_is_the_operators_matter_and_a_lost_one_the_callers() {
    for tool in registry() {
        let fake = Fake::new();
        fake.play(Played::End(Err(Error::Invalid("no such thing".to_owned()))));
        fake.play(Played::End(Err(Error::Lost)));
        let input = valid_input(&tool.spec().input_schema);
        let error = tool.run(fake.ctx(), input.clone()).await.expect_err("a failure");
        assert!(
            matches!(&error, ToolError::Operator { source, .. } if source.to_string() == "no such thing"),
            "{error:?}"
        );
        let error = tool.run(fake.ctx(), input).await.expect_err("a loss");
        assert!(matches!(error, ToolError::SandboxLost), "{error:?}");
    }
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_in_the_sandbox_and_waited_for() {
    for tool in registry() {
        let fake = Fake::new();
        let ctx = fake.ctx();
        let exit = Exit { signal: Some(9), cancelled: true, ..Exit::default() };
        fake.play(Played::WhenCancelled(ctx.cancel.clone(), exit));
        cancelled_result(tool.run(ctx, valid_input(&tool.spec().input_schema)).await);
    }
}

#[tokio::test]
async fn a_call_cancelled_before_it_began_is_cancelled_in_the_sandbox_too() {
    for tool in registry() {
        let fake = Fake::new();
        let mut ctx = fake.ctx();
        ctx.cancel = CancellationToken::new();
        ctx.cancel.cancel();
        fake.play(Played::WhenCancelled(CancellationToken::new(), Exit { cancelled: true, ..Exit::default() }));
        cancelled_result(tool.run(ctx, valid_input(&tool.spec().input_schema)).await);
    }
}

fn cancelled_result(result: Result<tenure_tools::ToolResult, ToolError>) {
    match result {
        Err(ToolError::Cancelled) => {}
        Ok(result) => assert!(result.is_error && format!("{result:?}").contains("cancelled"), "{result:?}"),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_timed_out_call_says_so_with_the_time() {
    for tool in registry() {
        let fake = Fake::new();
        fake.plays_exit(Exit { signal: Some(9), timed_out: true, ..Exit::default() });
        let mut input = valid_input(&tool.spec().input_schema);
        input.as_object_mut().expect("an object").remove("timeout_ms");
        let told = match tool.run(fake.ctx(), input).await {
            Ok(result) if result.is_error => format!("{result:?}"),
            Err(ToolError::Model(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(told.contains("120 s"), "{told}");
    }
}

#[tokio::test]
async fn a_broken_op_is_the_operators_matter() {
    for tool in registry().iter().filter(|tool| tool.spec().name != "bash") {
        for exit in [
            Exit { code: Some(127), stderr: b"no such op".to_vec(), ..Exit::default() },
            Exit { code: Some(70), stdout: b"text/plain\npanicked".to_vec(), ..Exit::default() },
            Exit { signal: Some(11), ..Exit::default() },
            Exit { code: Some(0), stdout: b"cut".to_vec(), truncated: true, omitted_bytes: 3, ..Exit::default() },
            Exit { code: Some(0), stdout: b"no media type".to_vec(), ..Exit::default() },
        ] {
            let fake = Fake::new();
            fake.plays_exit(exit.clone());
            let error = tool.run(fake.ctx(), valid_input(&tool.spec().input_schema)).await.expect_err("a fault");
            assert!(matches!(error, ToolError::Operator { .. }), "{error:?} for {exit:?}");
        }
    }
}

#[tokio::test]
async fn running_out_of_memory_is_told_to_the_model() {
    for tool in registry() {
        let fake = Fake::new();
        fake.plays_exit(Exit { signal: Some(9), out_of_memory: true, ..Exit::default() });
        let told = match tool.run(fake.ctx(), valid_input(&tool.spec().input_schema)).await {
            Ok(result) if result.is_error => format!("{result:?}"),
            Err(ToolError::Model(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(told.contains("killed: memory limit;"), "{told}");
    }
}

#[tokio::test]
async fn no_result_has_an_empty_text() {
    // The Messages API refuses empty text blocks.
    let fake = Fake::new();
    fake.put("empty", "");
    fake.put("blank", "\n\n");
    fake.plays_exit(Exit { code: Some(0), ..Exit::default() });
    assert_eq!(fake.call("bash", json!({ "command": "true" })).await, Ok("(no output)".to_owned()));
    assert_eq!(fake.call("read", json!({ "file_path": "empty" })).await, Ok("(the file is empty)".to_owned()));
    let blank = fake.call("read", json!({ "file_path": "blank", "view_range": [1, 1] })).await;
    assert_eq!(blank, Ok("(line 1 of blank is empty)".to_owned()));
}
