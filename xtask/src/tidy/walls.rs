//! Which crate may know which: `cli → server → engine → { tools → sandbox, models, store } → core`.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Findings;
use crate::repo::Repo;

/// Every crate of ours with those it may depend on. A further crate, or a further edge, needs an ADR.
const EDGES: &[(&str, &[&str])] = &[
    ("tenure-core", &[]),
    ("tenure-store", &["tenure-core"]),
    ("tenure-models", &["tenure-core"]),
    ("tenure-sandbox", &["tenure-core"]),
    ("tenure-images", &["tenure-core", "tenure-sandbox"]),
    ("tenure-tools", &["tenure-core", "tenure-sandbox"]),
    ("tenure-engine", &["tenure-core", "tenure-store", "tenure-models", "tenure-sandbox", "tenure-tools"]),
    ("tenure-server", &["tenure-core", "tenure-engine"]),
    // The binary puts the parts together, so it sees them all.
    ("tenure", ALL),
    ("tenure-testkit", ALL),
    ("xtask", &[]),
];

const ALL: &[&str] = &[
    "tenure-core",
    "tenure-store",
    "tenure-models",
    "tenure-sandbox",
    "tenure-images",
    "tenure-tools",
    "tenure-engine",
    "tenure-server",
];

/// The crate that only tests may depend on.
const FOR_TESTS: &str = "tenure-testkit";

/// Libraries that belong behind a wall, with the crates that may have them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("axum", &["tenure-server"]),
    ("tower", &["tenure-server"]),
    ("tower-http", &["tenure-server"]),
    ("hyper", &["tenure-server"]),
    ("hyper-util", &["tenure-server"]),
    ("reqwest", &["tenure-models", "tenure-tools", "tenure"]),
    ("rusqlite", &["tenure-store"]),
    ("aes-gcm", &["tenure-store"]),
    ("oci-client", &["tenure-images"]),
    ("seccompiler", &["tenure-sandbox"]),
    ("landlock", &["tenure-sandbox"]),
    ("clap", &["tenure"]),
    ("reedline", &["tenure"]),
    ("comfy-table", &["tenure"]),
];

/// The only libraries the core may have: it is pure.
const CORE_LIBRARIES: &[&str] = &["serde", "serde_json", "thiserror"];

/// What the source of a crate must not say, and why.
const SOURCE: &[(&str, &str, &str)] = &[
    ("crates/core/src/", "async fn", "the core is not async"),
    ("crates/core/src/", "SystemTime", "the core is given the time"),
    ("crates/core/src/", "Instant::", "the core is given the time"),
    ("crates/core/src/", "std::fs", "the core does no IO"),
    ("crates/core/src/", "std::net", "the core does no IO"),
    ("crates/core/src/", "std::env", "the core does no IO"),
    ("crates/core/src/", "std::thread", "the core has no threads"),
    ("crates/tools/src/", "SessionId", "a tool never sees a session"),
    ("crates/models/src/", "SessionId", "models know no session"),
    ("crates/server/src/", "rusqlite", "SQL is written in the store alone"),
];

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    for package in packages(repo)? {
        edges(&package, findings);
        libraries(&package, findings);
        weaknesses(&package, findings);
    }
    for file in repo.rust() {
        source(repo, file, findings)?;
    }
    Ok(())
}

fn edges(package: &Package, findings: &mut Findings) {
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
        findings.refuse(&package.name, "a further crate needs an ADR and a line in xtask's table of edges");
        return;
    };
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let is_ours = EDGES.iter().any(|(ours, _)| *ours == name);
        let for_tests = dependency.kind.as_deref() == Some("dev");
        // A test may build on what lies below the crates it sees, and on the testkit.
        if is_ours && !allowed.contains(&name) && !for_tests {
            findings.refuse(&package.name, format_args!("must not depend on `{name}`"));
        }
        if name == FOR_TESTS && !for_tests {
            findings.refuse(&package.name, format_args!("`{name}` is for tests: a dev-dependency"));
        }
    }
}

fn libraries(package: &Package, findings: &mut Findings) {
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev")) {
        let name = dependency.name.as_str();
        let walled = LIBRARIES.iter().find(|(library, _)| *library == name);
        if let Some((_, may)) = walled
            && package.name != FOR_TESTS
            && !may.contains(&package.name.as_str())
        {
            findings.refuse(&package.name, format_args!("must not depend on `{name}`; {} may", may.join(" and ")));
        }
        if package.name == "tenure-core" && !CORE_LIBRARIES.contains(&name) {
            findings.refuse(&package.name, format_args!("is pure and must not depend on `{name}`"));
        }
    }
}

/// Features that take something away so that a test can see the difference. Nothing turns them on but a command line that
/// builds tests.
const WEAKNESSES: &[&str] = &["weakened", "failpoints"];

fn weaknesses(package: &Package, findings: &mut Findings) {
    let names_one = |names: &[String]| {
        let last = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
        names.iter().map(last).find(|name| WEAKNESSES.contains(&name.as_str()))
    };
    for (feature, implied) in package.features.iter().filter(|(feature, _)| !WEAKNESSES.contains(&feature.as_str())) {
        if let Some(weakness) = names_one(implied) {
            findings.refuse(&package.name, format_args!("the feature `{feature}` must not turn on `{weakness}`"));
        }
    }
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev")) {
        if let Some(weakness) = names_one(&dependency.features) {
            let name = &dependency.name;
            findings
                .refuse(&package.name, format_args!("must not build `{name}` with `{weakness}`: that is for tests"));
        }
    }
}

fn source(repo: &Repo, file: &str, findings: &mut Findings) -> Result<()> {
    let rules: Vec<_> = SOURCE.iter().filter(|(folder, ..)| file.starts_with(folder)).collect();
    let dialect = dialect(file);
    if rules.is_empty() && dialect.is_none() {
        return Ok(());
    }
    for (number, line) in repo.read(file)?.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (_, phrase, why) in rules.iter().filter(|(_, phrase, _)| line.contains(phrase)) {
            findings.refuse(&place, format_args!("`{phrase}`: {why}"));
        }
        let other = line.split_once("dialects::").and_then(|(_, rest)| rest.split([':', ';', ' ', '{']).next());
        if let (Some(own), Some(other)) = (dialect, other)
            && !other.is_empty()
            && own != other
        {
            findings.refuse(&place, format_args!("the dialect `{own}` must not know the dialect `{other}`"));
        }
    }
    Ok(())
}

/// The dialect a file belongs to.
fn dialect(file: &str) -> Option<&str> {
    let (name, _) = file.strip_prefix("crates/server/src/dialects/")?.split_once('/')?;
    Some(name)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    features: BTreeMap<String, Vec<String>>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    features: Vec<String>,
    kind: Option<String>,
}

fn packages(repo: &Repo) -> Result<Vec<Package>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(repo.root());
    let output = cargo.output().context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    Ok(metadata.packages)
}
