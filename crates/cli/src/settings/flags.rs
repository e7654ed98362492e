//! The settings as flags of `tenure up`.

use clap::{Arg, ArgMatches, Command};

use super::table::{Setting, Sources, TABLE};

/// What was said on the command line.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&'static str, &str); N]> for Flags {
    fn from(flags: [(&'static str, &str); N]) -> Self {
        Self(flags.map(|(name, text)| (name, text.to_owned())).into())
    }
}

fn flags() -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(|setting| setting.sources == Sources::All)
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        flags().fold(command, |command, setting| {
            let default =
                if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
            let env = setting.env.join(", ");
            let arg = Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.kind)
                .help(format!("{}{default} [env: {env}]", setting.doc.trim()))
                .help_heading("Settings (flag > environment > config.toml in the data directory > default)");
            command.arg(match setting.kind {
                "BOOL" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                _ => arg,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| matches.get_one::<String>(setting.name).cloned();
        Ok(Self(flags().filter_map(|setting| Some((setting.name, given(setting)?))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
