//! The stored forms, as files: `<type>.v<version>.json`, or `fact.<kind>.v<version>.json`, each an array of samples.
//!
//! A test fails when a form changes. Give it a new version and an up-caster then (`formats.rs`), keep the old file, and
//! write the new one with `UPDATE_GOLDEN=1`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tenure_core::fact::Fact;
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_store::FeedKind;
use tenure_store::formats::{Stored, decode, encode};

use samples::{agents, definitions, environments, facts, feed_kinds, keys, summaries};

#[path = "golden_samples.rs"]
mod samples;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares samples with their file, or writes it.
fn check<T: Stored + PartialEq + Debug>(name: &str, samples: &[T]) {
    let path = folder().join(format!("{name}.v{}.json", T::FORMAT));
    let encoded: Vec<Value> = samples.iter().map(|sample| serde_json::from_slice(&encode(sample)).unwrap()).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&encoded).unwrap() + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(golden, encoded, "the stored form of {name} has changed: see the head of this file");
    let read: Vec<T> =
        golden.iter().map(|value| decode(T::FORMAT, &serde_json::to_vec(value).unwrap()).unwrap()).collect();
    assert_eq!(read, samples, "{name} doesn't read back");
}

#[test]
fn every_kind_of_fact_has_its_form() {
    let facts = facts();
    let sampled: BTreeSet<&str> = facts.iter().map(Fact::kind).collect();
    let known: BTreeSet<&str> = samples::KINDS.into_iter().collect();
    assert_eq!(sampled, known, "a kind has no sample, or is not in the list");
    for kind in known {
        let of_kind: Vec<Fact> = facts.iter().filter(|fact| fact.kind() == kind).cloned().collect();
        assert!(of_kind.iter().all(|fact| samples::position(fact) < samples::KINDS.len()));
        check(&format!("fact.{kind}"), &of_kind);
    }
}

#[test]
fn every_other_stored_type_has_its_form() {
    check::<Summary>("summary", &summaries());
    check::<Definition>("definition", &definitions());
    check::<FeedKind>("feed", &feed_kinds());
    check::<AgentRecord>("agent", &agents());
    check::<EnvironmentRecord>("environment", &environments());
    check::<KeyRecord>("key", &keys());
}

#[test]
fn every_file_still_reads() {
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (stem, format) =
            name.strip_suffix(".json").and_then(|name| name.rsplit_once(".v")).expect("<name>.v<n>.json");
        let format: u32 = format.parse().unwrap();
        let samples: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(!samples.is_empty(), "{name} is empty");
        for sample in samples {
            let bytes = serde_json::to_vec(&sample).unwrap();
            let read = match stem {
                "summary" => decode::<Summary>(format, &bytes).map(drop),
                "definition" => decode::<Definition>(format, &bytes).map(drop),
                "feed" => decode::<FeedKind>(format, &bytes).map(drop),
                "agent" => decode::<AgentRecord>(format, &bytes).map(drop),
                "environment" => decode::<EnvironmentRecord>(format, &bytes).map(drop),
                "key" => decode::<KeyRecord>(format, &bytes).map(drop),
                fact => {
                    assert!(fact.starts_with("fact."), "{name} is of no stored type");
                    decode::<Fact>(format, &bytes).map(drop)
                }
            };
            read.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
