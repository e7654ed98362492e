//! What the generations of Claude take, told from a model's name.
//!
//! From <https://platform.claude.com/docs/en/models>, `…/build-with-claude/effort`, `…/build-with-claude/thinking` and
//! `…/models/sonnet-5/migration-guide`, as of November 2026. A name that says no version counts as current.

use tenure_core::model::{Effort, ModelConfig, Speed};

use crate::models::InvalidSetting;

/// How a model is told how hard to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It decides itself; `effort` steers it.
    Adaptive,
    /// It thinks within a budget of tokens, or not at all.
    Budget,
    /// It can't.
    No,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Traits {
    pub(super) thinking: Thinking,
    /// The efforts it knows by `output_config`; none where it refuses that field.
    pub(super) efforts: &'static [Effort],
    /// It takes temperatures other than 1.
    pub(super) sampling: bool,
    /// The most tokens of a reply, thinking included.
    max_output: u32,
}

impl Traits {
    pub(super) fn of(model: &str) -> Self {
        use Effort::{High, Low, Max, Medium, Xhigh};
        let (thinking, efforts, sampling, max_output): (_, &[Effort], _, _) = match version(model) {
            None | Some((5.., _) | (4, 7..)) => (Thinking::Adaptive, &[Low, Medium, High, Xhigh, Max], false, 128_000),
            Some((4, 6)) => (Thinking::Adaptive, &[Low, Medium, High, Max], true, 128_000),
            Some((4, 5)) if model.contains("opus") => (Thinking::Budget, &[Low, Medium, High], true, 64_000),
            Some((4, 0 | 1)) if model.contains("opus") => (Thinking::Budget, &[], true, 32_000),
            Some((4, _) | (3, 7..)) => (Thinking::Budget, &[], true, 64_000),
            Some((3, 5 | 6)) => (Thinking::No, &[], true, 8_192),
            Some(_) => (Thinking::No, &[], true, 4_096),
        };
        Self { thinking, efforts, sampling, max_output }
    }

    /// The most tokens of a reply nobody set: enough for long thinking and a long file, well inside the model's range.
    pub(super) fn default_max_tokens(self) -> u32 {
        match self.thinking {
            Thinking::Adaptive => 64_000,
            Thinking::Budget | Thinking::No => self.max_output.min(32_000),
        }
    }
}

/// The most tokens that a reply of the model is asked for if nobody says.
pub(crate) fn default_max_tokens(model: &str) -> u32 {
    Traits::of(model).default_max_tokens()
}

/// Whether the model takes these settings.
pub(crate) fn check(config: &ModelConfig) -> Result<(), InvalidSetting> {
    let traits = Traits::of(&config.id);
    let model = &config.id;
    if let Some(temperature) = config.temperature {
        if !(0.0..=1.0).contains(&temperature) {
            return Err(InvalidSetting::new("temperature", format!("expected 0 to 1 for {model}, got {temperature}")));
        }
        if !traits.sampling && temperature != 1.0 {
            return Err(InvalidSetting::new("temperature", format!("{model} takes no temperature; leave it out")));
        }
        if traits.thinking == Thinking::Budget && config.effort.is_some() && temperature != 1.0 {
            let problem = format!("{model} takes either an effort or a temperature; leave one out");
            return Err(InvalidSetting::new("temperature", problem));
        }
    }
    if let Some(tokens) = config.max_tokens
        && !(1..=traits.max_output).contains(&tokens)
    {
        let problem = format!("expected 1 to {} for {model}, got {tokens}", traits.max_output);
        return Err(InvalidSetting::new("max_tokens", problem));
    }
    if config.effort.is_some() && traits.thinking == Thinking::No {
        return Err(InvalidSetting::new("effort", format!("{model} has no effort; leave it out")));
    }
    if let Some(effort) = config.effort
        && !traits.efforts.is_empty()
        && !traits.efforts.contains(&effort)
    {
        let problem = format!("expected one of {:?} for {model}, got {effort:?}", traits.efforts).to_lowercase();
        return Err(InvalidSetting::new("effort", problem));
    }
    if config.speed == Speed::Fast && !model.contains("opus") && version(model).is_some() {
        return Err(InvalidSetting::new("speed", format!("{model} has no fast mode; expected standard")));
    }
    Ok(())
}

/// Whether the model takes messages of the role `system` behind a user's: from 4.8 on
/// (`…/build-with-claude/mid-conversation-system-messages`).
pub(crate) fn takes_instructions(model: &str) -> bool {
    matches!(version(model), None | Some((5.., _) | (4, 8..)))
}

/// The version in a name: `claude-sonnet-5`, `claude-opus-4-8`, `claude-sonnet-4-5-20250929`, `claude-3-7-sonnet-latest`.
fn version(model: &str) -> Option<(u32, u32)> {
    let mut words = model.split(['-', '.', '@']).skip_while(|word| number(word).is_none());
    let major = words.next().and_then(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

/// A part of a version; eight digits are a date.
fn number(word: &str) -> Option<u32> {
    (word.len() <= 2).then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{Thinking, Traits, check, takes_instructions, version};
    use tenure_core::model::{Effort, ModelConfig, Speed};

    #[test]
    fn names_tell_generations() {
        let cases = [
            ("claude-sonnet-5", Some((5, 0)), Thinking::Adaptive, 64_000),
            ("claude-opus-5-5", Some((5, 5)), Thinking::Adaptive, 64_000),
            ("claude-mythos-preview", None, Thinking::Adaptive, 64_000),
            ("claude-opus-4-8", Some((4, 8)), Thinking::Adaptive, 64_000),
            ("claude-sonnet-4-6", Some((4, 6)), Thinking::Adaptive, 64_000),
            ("claude-haiku-4-5-20251001", Some((4, 5)), Thinking::Budget, 32_000),
            ("claude-opus-4-20250514", Some((4, 0)), Thinking::Budget, 32_000),
            ("claude-3-7-sonnet-latest", Some((3, 7)), Thinking::Budget, 32_000),
            ("claude-3-5-haiku-20241022", Some((3, 5)), Thinking::No, 8_192),
            ("claude-3-haiku-20240307", Some((3, 0)), Thinking::No, 4_096),
        ];
        for (name, expected, thinking, max_tokens) in cases {
            let traits = Traits::of(name);
            assert_eq!(
                (version(name), traits.thinking, traits.default_max_tokens()),
                (expected, thinking, max_tokens),
                "{name}"
            );
        }
    }

    #[test]
    fn newer_models_take_instructions_in_mid_conversation() {
        for (name, takes) in [
            ("claude-opus-4-7", false),
            ("claude-opus-4-8", true),
            ("claude-opus-4-8-20260528", true),
            ("claude-sonnet-5", true),
            ("claude-mythos-preview", true),
            ("claude-haiku-4-5-20251001", false),
            ("claude-opus-4-20250514", false),
            ("claude-3-7-sonnet-latest", false),
        ] {
            assert_eq!(takes_instructions(name), takes, "{name}");
        }
    }

    #[test]
    fn settings_outside_a_models_range_are_named() {
        let field = |id: &str, change: fn(&mut ModelConfig)| {
            let mut config = ModelConfig::named(id);
            change(&mut config);
            check(&config).err().map(|invalid| invalid.field)
        };
        assert_eq!(field("claude-sonnet-5", |_| {}), None);
        assert_eq!(field("claude-sonnet-5", |config| config.temperature = Some(0.5)), Some("temperature"));
        assert_eq!(field("claude-sonnet-5", |config| config.temperature = Some(1.0)), None);
        assert_eq!(field("claude-sonnet-4-6", |config| config.temperature = Some(0.5)), None);
        assert_eq!(field("claude-sonnet-4-6", |config| config.temperature = Some(1.5)), Some("temperature"));
        assert_eq!(field("claude-sonnet-4-6", |config| config.effort = Some(Effort::Xhigh)), Some("effort"));
        assert_eq!(field("claude-haiku-5-5", |config| config.effort = Some(Effort::Xhigh)), None);
        assert_eq!(field("claude-3-5-haiku-latest", |config| config.effort = Some(Effort::Low)), Some("effort"));
        assert_eq!(field("claude-sonnet-5", |config| config.max_tokens = Some(200_000)), Some("max_tokens"));
        assert_eq!(field("claude-sonnet-5", |config| config.max_tokens = Some(0)), Some("max_tokens"));
        assert_eq!(field("claude-sonnet-5", |config| config.speed = Speed::Fast), Some("speed"));
        assert_eq!(field("claude-opus-5-5", |config| config.speed = Speed::Fast), None);
    }
}
