//! What the agent asks by its tool `ask`.

use anyhow::Result;

use super::lines::{Line, Lines};
use crate::client::Event;
use crate::terminal::{plain, say};

/// A question, and the answers it offers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    text: String,
    choices: Vec<String>,
}

impl Question {
    /// The question that a call asks, if it asks one.
    pub(super) fn of(call: &Event) -> Option<Self> {
        if call.data["question"] != true {
            return None;
        }
        let input = &call.data["input"];
        let choices = input["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let choices = choices.iter().filter_map(|choice| choice.as_str()).map(str::to_owned).collect();
        Some(Self { text: input["question"].as_str().unwrap_or_default().to_owned(), choices })
    }

    /// Puts it to the person: what they say, or how they left.
    pub(super) fn put(&self, lines: &mut Lines) -> Result<Result<String, Line>> {
        say::line(&format!("\n{} {}", say::bold("The agent asks >"), plain(&self.text)));
        for (at, choice) in self.choices.iter().enumerate() {
            say::line(&format!("  {}. {}", at + 1, plain(choice)));
        }
        let prompt = if self.choices.is_empty() { "You" } else { "You (a number, or other words)" };
        loop {
            match lines.ask(prompt)? {
                Line::Said(said) if said.trim().is_empty() => {}
                Line::Said(said) => return Ok(Ok(self.meant(&said))),
                left @ (Line::End | Line::BrokenOff) => return Ok(Err(left)),
            }
        }
    }

    /// What a line means: the choice of that number, or itself.
    fn meant(&self, said: &str) -> String {
        let number = said.trim().trim_end_matches('.').parse::<usize>().ok();
        let choice = number.and_then(|number| self.choices.get(number.checked_sub(1)?));
        choice.cloned().unwrap_or_else(|| said.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Question;
    use crate::client::Event;

    fn of(question: bool, input: serde_json::Value) -> Option<Question> {
        Question::of(&Event { cursor: None, data: json!({"name": "ask", "question": question, "input": input}) })
    }

    #[test]
    fn a_number_means_its_choice_and_other_words_themselves() {
        let question = of(true, json!({"question": "Which way?", "choices": ["left", "right"]})).expect("it is one");
        let meant = ["1", " 2. ", "3", "0", "left, but slowly", "-1"].map(|said| question.meant(said));
        assert_eq!(meant, ["left", "right", "3", "0", "left, but slowly", "-1"]);
        let open = of(true, json!({"question": "How many?"})).expect("it is one");
        assert_eq!(open.meant("2"), "2");
    }

    #[test]
    fn a_tool_of_the_clients_is_no_question() {
        assert_eq!(of(false, json!({"question": "Which way?"})), None);
    }
}
