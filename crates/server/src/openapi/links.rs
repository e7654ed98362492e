//! Which routes an answer leads to: the id of what was answered is a parameter of theirs.

use serde_json::{Map, Value, json};

/// What is known of each operation: its id, its path, and the name of the schema it answers with.
pub(super) struct Linked {
    pub(super) id: &'static str,
    pub(super) path: &'static str,
    pub(super) gives: Option<String>,
}

/// The links of the answer of `from` to all others that take its id and nothing else's.
pub(super) fn links(from: &Linked, all: &[Linked]) -> Option<Value> {
    let parameter = from.gives.as_deref()?.to_ascii_lowercase();
    let wanted = format!("{{{parameter}}}");
    let mut links = Map::new();
    for to in all {
        let parameters = to.path.matches('{').count();
        if to.path.contains(&wanted) && parameters == 1 {
            let link = json!({"operationId": to.id, "parameters": {&parameter: "$response.body#/id"}});
            links.insert(to.id.to_owned(), link);
        }
    }
    if links.is_empty() { None } else { Some(links.into()) }
}
