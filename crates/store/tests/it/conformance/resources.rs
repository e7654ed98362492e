use std::sync::Arc;

use tenure_core::id::{AgentId, KeyId};
use tenure_core::resource::AgentRecord;
use tenure_core::time::Timestamp;
use tenure_store::{ResourceError, ResourceQuery, Start, Store};

use crate::fixture::{Log, OTHER_TENANT, TENANT, agent_record, answer, environment_record, key_record};

const AGENT: AgentId = AgentId::from_bits(1);

fn next_version(record: &AgentRecord, name: &str) -> AgentRecord {
    let mut next = record.clone();
    next.agent.version += 1;
    next.agent.name = name.to_owned();
    next
}

pub(super) async fn an_agent_has_versions(store: Arc<dyn Store>) {
    let first = agent_record(1, "one", 10);
    store.create_agent(first.clone(), None).await.unwrap();
    let second = next_version(&first, "second");
    store.update_agent(1, second.clone(), None).await.unwrap();
    let mut third = next_version(&second, "third");
    third.slug = "uno".to_owned();
    store.update_agent(2, third.clone(), None).await.unwrap();

    assert_eq!(store.agent(TENANT, AGENT).await.unwrap(), Some(third.clone()));
    assert_eq!(store.agent(OTHER_TENANT, AGENT).await.unwrap(), None);
    assert_eq!(store.agent_by_slug(TENANT, "uno".to_owned()).await.unwrap(), Some(third.clone()));
    assert_eq!(store.agent_by_slug(TENANT, "one".to_owned()).await.unwrap(), None);
    assert_eq!(store.agent_by_slug(OTHER_TENANT, "uno".to_owned()).await.unwrap(), None);

    // The short name belongs to no version.
    let renamed = |record: &AgentRecord| AgentRecord { slug: "uno".to_owned(), ..record.clone() };
    assert_eq!(store.agent_version(TENANT, AGENT, 1).await.unwrap(), Some(renamed(&first)));
    assert_eq!(store.agent_version(TENANT, AGENT, 4).await.unwrap(), None);
    assert_eq!(store.agent_version(OTHER_TENANT, AGENT, 1).await.unwrap(), None);
    let versions = store.agent_versions(TENANT, AGENT, None, 2).await.unwrap();
    assert_eq!(versions, [third, renamed(&second)]);
    assert_eq!(store.agent_versions(TENANT, AGENT, Some(2), 2).await.unwrap(), [renamed(&first)]);
    assert_eq!(store.agent_versions(OTHER_TENANT, AGENT, None, 2).await.unwrap(), []);
}

pub(super) async fn slugs_are_unique_within_a_tenant(store: Arc<dyn Store>) {
    store.create_agent(agent_record(1, "one", 10), None).await.unwrap();
    store.create_agent(agent_record(2, "two", 10), None).await.unwrap();
    let taken = store.create_agent(agent_record(3, "one", 10), None).await;
    assert!(matches!(taken, Err(ResourceError::NameTaken)));
    assert_eq!(store.agent(TENANT, AgentId::from_bits(3)).await.unwrap(), None);
    let mut renamed = next_version(&agent_record(2, "two", 10), "two");
    renamed.slug = "one".to_owned();
    assert!(matches!(store.update_agent(1, renamed, None).await, Err(ResourceError::NameTaken)));
    let foreign = AgentRecord { tenant: OTHER_TENANT, ..agent_record(4, "one", 10) };
    store.create_agent(foreign, None).await.unwrap();
}

pub(super) async fn an_outdated_update_is_a_conflict(store: Arc<dyn Store>) {
    let first = agent_record(1, "one", 10);
    let second = next_version(&first, "second");
    assert!(matches!(store.update_agent(1, second.clone(), None).await, Err(ResourceError::NotFound)));
    store.create_agent(first.clone(), None).await.unwrap();
    store.update_agent(1, second.clone(), None).await.unwrap();
    let outdated = store.update_agent(1, next_version(&first, "other"), None).await;
    assert!(matches!(outdated, Err(ResourceError::Conflict)));
    let foreign = AgentRecord { tenant: OTHER_TENANT, ..next_version(&second, "third") };
    assert!(matches!(store.update_agent(2, foreign, None).await, Err(ResourceError::NotFound)));
    assert_eq!(store.agent(TENANT, AGENT).await.unwrap(), Some(second));
}

pub(super) async fn archiving_makes_no_version(store: Arc<dyn Store>) {
    let first = agent_record(1, "one", 10);
    store.create_agent(first.clone(), None).await.unwrap();
    let second = next_version(&first, "second");
    store.update_agent(1, second.clone(), None).await.unwrap();
    let archived_at = Some(Timestamp::from_micros(50));
    let archived = AgentRecord { archived_at, ..second };
    store.update_agent(2, archived.clone(), None).await.unwrap();
    assert_eq!(store.agent(TENANT, AGENT).await.unwrap(), Some(archived.clone()));
    let back = AgentRecord { archived_at: None, ..next_version(&archived, "third") };
    assert!(matches!(store.update_agent(2, back, None).await, Err(ResourceError::Conflict)));
    let versions = store.agent_versions(TENANT, AGENT, None, 10).await.unwrap();
    assert_eq!(versions, [archived.clone(), AgentRecord { archived_at, ..first }]);
    let shown = async |include_archived| {
        let query = ResourceQuery { include_archived, ..ResourceQuery::newest(TENANT, 10) };
        store.agents(query).await.unwrap().rows
    };
    assert_eq!(shown(false).await, []);
    assert_eq!(shown(true).await, [archived]);
}

pub(super) async fn agents_are_listed(store: Arc<dyn Store>) {
    for (id, created_at) in [(1, 10), (3, 20), (2, 20), (4, 30)] {
        store.create_agent(agent_record(id, &format!("agent-{id}"), created_at), None).await.unwrap();
    }
    store.update_agent(1, next_version(&agent_record(2, "agent-2", 20), "new"), None).await.unwrap();
    let page = async |start| {
        let page = store.agents(ResourceQuery { start, ..ResourceQuery::newest(TENANT, 2) }).await.unwrap();
        let ids: Vec<_> = page.rows.iter().map(|record| record.agent.id.bits()).collect();
        (ids, page)
    };
    let (ids, first) = page(None).await;
    assert_eq!(ids, [4, 3]);
    let (ids, second) = page(first.next.map(Start::After)).await;
    assert_eq!(ids, [2, 1]);
    assert_eq!(second.rows[0].agent.name, "new");
    assert_eq!((first.prev, second.next), (None, None));
    assert_eq!(page(second.prev.map(Start::Before)).await.0, [4, 3]);
}

pub(super) async fn environments(store: Arc<dyn Store>) {
    let record = environment_record(1, "default", 10);
    store.create_environment(record.clone(), None).await.unwrap();
    let taken = store.create_environment(environment_record(2, "default", 11), None).await;
    assert!(matches!(taken, Err(ResourceError::NameTaken)));
    store.create_environment(environment_record(2, "other", 11), None).await.unwrap();
    assert_eq!(store.environment(TENANT, record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(store.environment(OTHER_TENANT, record.id).await.unwrap(), None);
    assert_eq!(store.environment_by_name(TENANT, "default".to_owned()).await.unwrap(), Some(record.clone()));

    let mut changed = record.clone();
    changed.name = "renamed".to_owned();
    changed.updated_at = Timestamp::from_micros(99);
    changed.archived_at = Some(Timestamp::from_micros(99));
    store.update_environment(record.updated_at, changed.clone(), None).await.unwrap();
    let outdated = store.update_environment(record.updated_at, record.clone(), None).await;
    assert!(matches!(outdated, Err(ResourceError::Conflict)));
    changed.name = "other".to_owned();
    let taken = store.update_environment(changed.updated_at, changed.clone(), None).await;
    assert!(matches!(taken, Err(ResourceError::NameTaken)));
    let unknown = store.update_environment(record.updated_at, environment_record(9, "nine", 1), None).await;
    assert!(matches!(unknown, Err(ResourceError::NotFound)));

    let shown = async |include_archived| -> Vec<String> {
        let query = ResourceQuery { include_archived, ..ResourceQuery::newest(TENANT, 10) };
        store.environments(query).await.unwrap().rows.into_iter().map(|record| record.name).collect()
    };
    assert_eq!(shown(false).await, ["other"]);
    assert_eq!(shown(true).await, ["other", "renamed"]);
}

pub(super) async fn an_environment_goes_once_no_session_refers_to_it(store: Arc<dyn Store>) {
    let record = environment_record(2, "box", 10);
    store.create_environment(record.clone(), None).await.unwrap();
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let delete = async |tenant| store.delete_environment(tenant, record.id).await;
    assert!(matches!(delete(OTHER_TENANT).await, Err(ResourceError::NotFound)));
    assert!(matches!(delete(TENANT).await, Err(ResourceError::InUse)));
    assert_eq!(store.environment(TENANT, record.id).await.unwrap(), Some(record.clone()));
    assert!(store.delete_session(log.id()).await.unwrap());
    delete(TENANT).await.unwrap();
    assert_eq!(store.environment(TENANT, record.id).await.unwrap(), None);
    assert!(matches!(delete(TENANT).await, Err(ResourceError::NotFound)));
    store.create_environment(environment_record(3, "box", 11), None).await.unwrap();
}

pub(super) async fn keys(store: Arc<dyn Store>) {
    let (one, two) = (key_record(1, "aa"), key_record(2, "bb"));
    store.create_key(one.clone(), None).await.unwrap();
    store.create_key(two.clone(), None).await.unwrap();
    assert!(matches!(store.create_key(key_record(3, "aa"), None).await, Err(ResourceError::NameTaken)));
    assert_eq!(store.key_by_hash("aa".to_owned()).await.unwrap(), Some(one.clone()));
    assert_eq!(store.key_by_hash("cc".to_owned()).await.unwrap(), None);
    assert_eq!(store.keys(TENANT).await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(store.keys(OTHER_TENANT).await.unwrap(), []);

    let at = Timestamp::from_micros;
    assert!(!store.revoke_key(OTHER_TENANT, one.id, at(70)).await.unwrap());
    assert!(!store.revoke_key(TENANT, KeyId::from_bits(9), at(70)).await.unwrap());
    assert!(store.revoke_key(TENANT, one.id, at(70)).await.unwrap());
    assert!(store.revoke_key(TENANT, one.id, at(80)).await.unwrap());
    assert_eq!(store.key_by_hash("aa".to_owned()).await.unwrap().unwrap().revoked_at, Some(at(70)));
}

pub(super) async fn an_answer_is_kept_with_a_resource(store: Arc<dyn Store>) {
    let kept = answer("create", 0, 100);
    store.create_agent(agent_record(1, "one", 10), Some(kept.clone())).await.unwrap();
    match store.create_agent(agent_record(2, "two", 10), Some(answer("create", 50, 150))).await {
        Err(ResourceError::KeyTaken(found)) => assert_eq!(*found, kept),
        unexpected => panic!("{unexpected:?}"),
    }
    assert_eq!(store.agent(TENANT, AgentId::from_bits(2)).await.unwrap(), None);
    let refused = store.create_agent(agent_record(3, "one", 10), Some(answer("refused", 0, 100))).await;
    assert!(matches!(refused, Err(ResourceError::NameTaken)));
    assert_eq!(store.answer(TENANT, "refused".to_owned(), Timestamp::from_micros(0)).await.unwrap(), None);
}
