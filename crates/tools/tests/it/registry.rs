use std::collections::BTreeSet;

use serde_json::Value;
use tenure_core::agent::{BUILTIN_TOOLS, place};
use tenure_tools::{ask, guest_ops, registry};

fn in_the_sandbox() -> Vec<&'static str> {
    BUILTIN_TOOLS.iter().copied().filter(|name| place(name).is_sandbox()).collect()
}

#[test]
fn the_list_is_the_cores_list() {
    let names: Vec<String> = registry().iter().map(|tool| tool.spec().name).collect();
    assert_eq!(names, in_the_sandbox());
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn every_tool_but_the_shell_has_its_function_in_the_sandbox() {
    let tools = guest_ops().iter().filter(|op| !["files", "keep_output"].contains(&op.name));
    let ops: Vec<&str> = tools.clone().map(|op| op.name).collect();
    assert_eq!(ops, in_the_sandbox().into_iter().filter(|&name| name != "bash").collect::<Vec<_>>());
    // Each is registered under its own name, not under another's.
    for op in tools {
        let mut out = Vec::new();
        (op.run)(br#"{"input":{},"give_up_after_ms":1000,"output_cap_bytes":1000}"#, &mut out);
        let answer = String::from_utf8(out).expect("text");
        assert!(answer.starts_with(&format!("text/plain\n{}: `", op.name)), "{answer}");
    }
}

#[test]
fn every_tool_and_every_field_is_documented() {
    for spec in registry().iter().map(|tool| tool.spec()).chain([ask()]) {
        assert!(spec.description.len() > 80, "{}: {}", spec.name, spec.description);
        assert!(!spec.description.contains("  "), "{}: {}", spec.name, spec.description);
        assert_eq!(spec.input_schema["type"], "object", "{}", spec.name);
        let properties = spec.input_schema["properties"].as_object().expect("properties");
        assert!(!properties.is_empty());
        for (name, property) in properties {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.len() > 15 && description.ends_with('.'), "{}.{name}: {description:?}", spec.name);
            assert!(["string", "boolean", "integer", "array"].map(Value::from).contains(&property["type"]));
        }
        for required in spec.input_schema["required"].as_array().expect("a list") {
            assert!(properties.contains_key(required.as_str().expect("a name")), "{}: {required}", spec.name);
        }
    }
}

/// The names and required fields of the Python SDK's `beta_managed_agents_agent_toolset20260401_*_input.py`.
#[test]
fn inputs_are_those_of_the_sdks() {
    let inputs: Vec<String> = registry()
        .iter()
        .map(|tool| {
            let spec = tool.spec();
            let required = spec.input_schema["required"].as_array().expect("a list").clone();
            let properties = spec.input_schema["properties"].as_object().expect("properties").clone();
            let fields = properties.keys().map(|name| {
                let optional = if required.contains(&Value::from(name.as_str())) { "" } else { "?" };
                format!("{name}{optional}")
            });
            let fields: BTreeSet<String> = fields.collect();
            format!("{}: {}", spec.name, fields.into_iter().collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        inputs,
        [
            "bash: command? restart? timeout_ms?",
            "read: file_path view_range?",
            "write: content file_path",
            "edit: file_path new_string old_string replace_all?",
            "glob: path? pattern",
            "grep: path? pattern",
        ]
    );
}
