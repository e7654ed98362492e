//! A tool call in one line: `[bash] python3 fib.py`.

use serde_json::Value;

use crate::client::Event;
use crate::terminal::plain;

/// How much of a call's input is shown.
const LENGTH: usize = 60;

/// The line for a call.
pub(super) fn tool_line(call: &Event) -> String {
    let name = plain(call.data["name"].as_str().unwrap_or("tool"));
    let gist = plain(&gist(&call.data["input"]));
    let words = gist.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = match words.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    };
    format!("[{name}] {shown}").trim_end().to_owned()
}

/// What a call is about: its main field if it has one of the usual, else all of it.
fn gist(input: &Value) -> String {
    const MAIN: &[&str] = &["command", "file_path", "pattern", "url", "query", "path"];
    if input["restart"] == true {
        return "restart".to_owned();
    }
    let main = MAIN.iter().find_map(|field| input[field].as_str());
    match (main, input.as_object()) {
        (Some(main), _) => main.to_owned(),
        (None, Some(fields)) if fields.is_empty() => String::new(),
        (None, _) => input.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::tool_line;
    use crate::client::Event;

    #[test]
    fn a_call_in_a_line() {
        let line = |name: &str, input| tool_line(&Event { cursor: None, data: json!({"name": name, "input": input}) });
        assert_eq!(line("bash", json!({"command": "echo 1 &&\n  echo 2"})), "[bash] echo 1 && echo 2");
        assert_eq!(line("bash", json!({"restart": true})), "[bash] restart");
        assert_eq!(line("write", json!({"content": "x", "file_path": "a.py"})), "[write] a.py");
        assert_eq!(line("weather", json!({"city": "Ulm"})), "[weather] {\"city\":\"Ulm\"}");
        assert_eq!(line("now", json!({})), "[now]");
        assert_eq!(line("b\u{1b}[2J", json!({"command": "\u{1b}]0;x\u{7}y"})), "[b] y");
        assert_eq!(line("bash", json!({"command": "é".repeat(61)})), format!("[bash] {}…", "é".repeat(60)));
    }
}
