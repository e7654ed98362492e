//! `docs/settings.md`.

use std::fmt::Write as _;

use super::table::{Setting, Sources, TABLE};

const HEAD: &str = "\
# Settings

Made from the table in the code by `tenure settings --markdown`.

A flag of `tenure up` goes before an environment variable, that before `config.toml` in the data directory, that before
the default. An empty environment variable counts as not set. A key in `config.toml` that isn't here is an error. Times
are written with their unit: `500ms`, `30s`, `5m`, `1h`. A key with a dot is in a table: `sandbox.idle` is `idle` under
`[sandbox]`.
";

/// The page, whole.
pub(crate) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (title, sources) in [
        ("Of a server", Sources::All),
        ("Where it is", Sources::FlagAndEnvironment),
        ("From the environment alone", Sources::EnvironmentOnly),
    ] {
        let _ = write!(page, "\n## {title}\n");
        for setting in TABLE.iter().filter(|setting| setting.sources == sources) {
            page.push_str(&entry(setting));
        }
    }
    page
}

fn entry(setting: &Setting) -> String {
    let Setting { name, sources, env, key, kind, default, doc, check: _ } = setting;
    let variables: Vec<_> = env.iter().map(|variable| format!("`{variable}`")).collect();
    let variables = variables.join(", else ");
    let (kind, doc) = (kind.to_lowercase(), doc.trim());
    let default = if default.is_empty() { String::new() } else { format!("; default `{default}`") };
    let ways = match sources {
        Sources::All => format!("`--{name}`, {variables}, `{key}` in the file"),
        Sources::FlagAndEnvironment => format!("`--{name}`, {variables}"),
        Sources::EnvironmentOnly => variables,
    };
    format!("\n### {name}\n\n{ways} ({kind}{default})\n\n{doc}\n")
}

#[cfg(test)]
mod tests {
    use super::{TABLE, markdown};

    #[test]
    fn every_setting_is_on_the_page() {
        let page = markdown();
        for setting in TABLE {
            assert!(page.contains(&format!("### {}\n", setting.name)), "{}", setting.name);
            assert!(setting.env.iter().all(|variable| page.contains(&format!("`{variable}`"))), "{}", setting.name);
        }
    }
}
