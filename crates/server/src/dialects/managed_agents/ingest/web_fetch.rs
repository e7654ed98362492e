//! What an agent says of `web_fetch`.

use serde_json::Value;
use tenure_core::agent::{ToolConfig, ToolFilter, UrlSources, WebFetchSettings};

use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

/// The most domains of a list.
pub(in super::super) const MOST_DOMAINS: usize = 64;

/// The most tools of a filter.
pub(in super::super) const MOST_NAMED: usize = 128;

/// The tools whose results count as the server's own.
pub(in super::super) const SERVER_TOOLS: [&str; 2] = ["web_search", "web_fetch"];

/// Reads the settings of a `web_fetch` entry; none if none is given.
pub(super) fn web_fetch(given: &mut Fields<'_>) -> Result<Option<WebFetchSettings>, Problem> {
    let allowed_domains = domains(given, "allowed_domains")?;
    let blocked_domains = domains(given, "blocked_domains")?;
    if allowed_domains.is_some() && blocked_domains.is_some() {
        return Err(given.wrong("allowed_domains", "Only one of allowed_domains or blocked_domains may be set."));
    }
    let most = given.integer("max_content_tokens", 1, u64::from(u32::MAX))?.value();
    let max_content_tokens = most.and_then(|most| u32::try_from(most).ok());
    let url_sources = match given.object("url_sources")? {
        Given::Absent | Given::Null => None,
        Given::Value(mut sources) => Some(url_sources(&mut sources)?),
    };
    let settings = WebFetchSettings { allowed_domains, blocked_domains, max_content_tokens, url_sources };
    Ok((settings != WebFetchSettings::default()).then_some(settings))
}

fn domains(given: &mut Fields<'_>, name: &str) -> Result<Option<Vec<String>>, Problem> {
    let Some(list) = given.list(name)?.value() else { return Ok(None) };
    let wrong = |at: usize, message: String| Err(given.wrong(&format!("{name}.{at}"), message));
    if list.is_empty() {
        let message = "Empty list of domains is ambiguous. Provide at least one domain or null.";
        return Err(given.wrong(name, message));
    }
    if list.len() > MOST_DOMAINS {
        return Err(given.wrong(name, format!("expected at most {MOST_DOMAINS} domains, got {}", list.len())));
    }
    let mut domains = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let Value::String(domain) = value else {
            return wrong(at, format!("expected a host name such as docs.example.com, got {}", describe(&value)));
        };
        match url::Host::parse(domain.trim_end_matches('.')) {
            Ok(url::Host::Domain(_)) if is_plain(&domain) => domains.push(domain),
            Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => {
                return wrong(
                    at,
                    "IP addresses are not supported; give a host name such as docs.example.com".to_owned(),
                );
            }
            Ok(url::Host::Domain(_)) | Err(_) if domain.parse::<std::net::IpAddr>().is_ok() => {
                return wrong(
                    at,
                    "IP addresses are not supported; give a host name such as docs.example.com".to_owned(),
                );
            }
            Ok(url::Host::Domain(_)) | Err(_) => {
                let message = "expected a plain host name such as docs.example.com, without scheme, port, path or `*`";
                return wrong(at, message.to_owned());
            }
        }
    }
    Ok(Some(domains))
}

fn is_plain(domain: &str) -> bool {
    (1..=253).contains(&domain.len()) && !domain.contains(['*', '%', ':', '/', '@', ' ']) && !domain.starts_with('.')
}

fn url_sources(sources: &mut Fields<'_>) -> Result<UrlSources, Problem> {
    let client_tool_results = filter(sources, "client_tool_results")?;
    let server_tool_results = filter(sources, "server_tool_results")?;
    let user_input = match filter(sources, "user_input")? {
        None => None,
        Some(ToolFilter::All) => Some(true),
        Some(ToolFilter::None) => Some(false),
        Some(ToolFilter::Only { .. } | ToolFilter::Except { .. }) => {
            return Err(sources.wrong("user_input.type", "expected `all` or `none`"));
        }
    };
    let none = |filter: &Option<ToolFilter>| *filter == Some(ToolFilter::None);
    if none(&client_tool_results) && none(&server_tool_results) && user_input == Some(false) {
        let message = "all three sources are `none`, so nothing could be fetched; switch the tool off instead";
        return Err(sources.wrong("user_input", message));
    }
    Ok(UrlSources { client_tool_results, server_tool_results, user_input })
}

/// A filter, as an object or by its short name.
fn filter(sources: &mut Fields<'_>, name: &str) -> Result<Option<ToolFilter>, Problem> {
    let path = sources.at(name);
    let value = match sources.take(name) {
        Given::Absent | Given::Null => return Ok(None),
        Given::Value(value) => value,
    };
    match value.as_str() {
        Some("all") => return Ok(Some(ToolFilter::All)),
        Some("none") => return Ok(Some(ToolFilter::None)),
        Some(_) => {
            let message = format!("expected `all`, `none` or an object with a `type`, got {}", describe(&value));
            return Err(Problem::invalid(&path, message));
        }
        None => {}
    }
    let mut given = sources.nested(path, value)?;
    Ok(Some(match given.required_one_of("type", &["all", "none", "only", "except"])? {
        "all" => ToolFilter::All,
        "none" => ToolFilter::None,
        "only" => ToolFilter::Only { tools: names(&mut given)? },
        _ => ToolFilter::Except { tools: names(&mut given)? },
    }))
}

fn names(given: &mut Fields<'_>) -> Result<Vec<String>, Problem> {
    let list = given.list("tools")?.value().unwrap_or_default();
    if !(1..=MOST_NAMED).contains(&list.len()) {
        return Err(given.wrong("tools", format!("expected 1 to {MOST_NAMED} tools, got {}", list.len())));
    }
    let path = given.at("tools");
    let mut names: Vec<String> = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let mut entry = given.nested(format!("{path}.{at}"), value)?;
        entry.required_one_of("type", &["tool_reference"])?;
        let name = entry.required_text("name", 1, 256)?;
        if names.contains(&name) {
            return Err(entry.wrong("name", format!("expected each tool once, got `{name}` again")));
        }
        names.push(name);
    }
    Ok(names)
}

/// The tools that filters name are there.
pub(super) fn sources_exist(path: &str, tools: &[ToolConfig]) -> Result<(), Problem> {
    let is_custom = |name: &String| {
        tools.iter().any(|tool| matches!(tool, ToolConfig::Custom { name: custom, .. } if custom == name))
    };
    let is_ours = |name: &String| SERVER_TOOLS.contains(&name.as_str());
    for (at, tool) in tools.iter().enumerate() {
        let ToolConfig::Builtin { configs, .. } = tool else { continue };
        for (which, config) in configs.iter().enumerate() {
            let Some(sources) = config.web_fetch.as_ref().and_then(|settings| settings.url_sources.as_ref()) else {
                continue;
            };
            let at =
                |key: &str, named: usize| format!("{path}.{at}.configs.{which}.url_sources.{key}.tools.{named}.name");
            if let Some((named, name)) = missing(sources.client_tool_results.as_ref(), is_custom) {
                let message = format!("expected a custom tool of the same tools, got `{name}`");
                return Err(Problem::invalid(&at("client_tool_results", named), message));
            }
            if let Some((named, name)) = missing(sources.server_tool_results.as_ref(), is_ours) {
                let message = format!("expected `web_search` or `web_fetch`, got `{name}`");
                return Err(Problem::invalid(&at("server_tool_results", named), message));
            }
        }
    }
    Ok(())
}

fn missing(filter: Option<&ToolFilter>, known: impl Fn(&String) -> bool) -> Option<(usize, &String)> {
    match filter? {
        ToolFilter::Only { tools } | ToolFilter::Except { tools } => {
            tools.iter().enumerate().find(|(_, name)| !known(name))
        }
        ToolFilter::All | ToolFilter::None => None,
    }
}
