//! What a request costs doesn't depend on how much is stored: SQLite itself counts, for every statement that is run, the
//! rows it passes over without an index, the sorts, and the instructions of its virtual machine.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::sync::{Mutex, Once};

use rusqlite::auto_extension::register_auto_extension;
use rusqlite::{Connection, ffi};
use tenure_core::content::BlobId;
use tenure_core::fact::Fact;
use tenure_core::id::{AgentId, EnvironmentId, KeyId, SessionId};
use tenure_core::phase::Phase;
use tenure_core::time::Timestamp;
use tenure_store::sqlite::SqliteStore;
use tenure_store::{
    Blobs as _, CachedState, FactQuery, FactStore as _, FeedKind, Order, Position, ResourceQuery, Resources as _,
    SessionQuery, SessionRows as _, Settings as _, Start, TimeRange,
};

use crate::fixture::{Log, TENANT, agent_record, answer, environment_record, key_record};
use crate::sqlite::open;

/// What one statement cost at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    scanned: i32,
    sorts: i32,
    automatic_indexes: i32,
    steps: i32,
}

/// Every statement that finished, of every database of this process.
static FINISHED: Mutex<Vec<(String, String, Cost)>> = Mutex::new(Vec::new());

/// Called by SQLite for each connection that is opened.
unsafe extern "C" fn watch(db: *mut ffi::sqlite3, _: *mut *mut c_char, _: *const ffi::sqlite3_api_routines) -> c_int {
    // SAFETY: `db` is the connection that is being opened; the callback has the form that this mask asks for.
    unsafe { ffi::sqlite3_trace_v2(db, ffi::SQLITE_TRACE_PROFILE as c_uint, Some(finished), std::ptr::null_mut()) }
}

/// Called by SQLite when a statement has finished, which `statement` is.
unsafe extern "C" fn finished(_: c_uint, _: *mut c_void, statement: *mut c_void, _: *mut c_void) -> c_int {
    let statement: *mut ffi::sqlite3_stmt = statement.cast();
    // SAFETY: the statement lives during this call; its text and its database's name are C strings or null.
    unsafe {
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        };
        let count = |what: c_int| ffi::sqlite3_stmt_status(statement, what, 1);
        let cost = Cost {
            scanned: count(ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP),
            sorts: count(ffi::SQLITE_STMTSTATUS_SORT),
            automatic_indexes: count(ffi::SQLITE_STMTSTATUS_AUTOINDEX),
            steps: count(ffi::SQLITE_STMTSTATUS_VM_STEP),
        };
        let file = ffi::sqlite3_db_filename(ffi::sqlite3_db_handle(statement), c"main".as_ptr());
        let finished = (text(file), text(ffi::sqlite3_sql(statement)), cost);
        FINISHED.lock().unwrap().push(finished);
    }
    ffi::SQLITE_OK
}

/// The statements that were run on a folder's database since the last call, each with the most it cost.
fn costs(dir: &Path) -> BTreeMap<String, Cost> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for (file, sql, cost) in FINISHED.lock().unwrap().drain(..) {
        if Path::new(&file).starts_with(dir) {
            let most = costs.entry(sql).or_default();
            most.scanned = most.scanned.max(cost.scanned);
            most.sorts = most.sorts.max(cost.sorts);
            most.automatic_indexes = most.automatic_indexes.max(cost.automatic_indexes);
            most.steps = most.steps.max(cost.steps);
        }
    }
    costs
}

const SESSIONS: u64 = 100_000;
const FACTS: u64 = 100_000;

#[tokio::test]
async fn no_request_costs_more_when_more_is_stored() {
    static WATCHED: Once = Once::new();
    // SAFETY: `watch` neither opens nor closes a database.
    WATCHED.call_once(|| unsafe { register_auto_extension(watch).unwrap() });

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    log.row.labels = ["common".to_owned(), "rare".to_owned()].into();
    store.append(log.create()).await.unwrap();
    store.append(log.say(5)).await.unwrap();
    store.create_agent(agent_record(1, "one", 10), None).await.unwrap();
    store.create_environment(environment_record(2, "two", 10), None).await.unwrap();
    store.create_key(key_record(3, "hash"), None).await.unwrap();

    grow(dir.path(), 200, 200, &mut log);
    costs(dir.path());
    every_request(&store, &mut log, 1_000).await;
    let few = costs(dir.path());
    grow(dir.path(), SESSIONS, FACTS, &mut log);
    costs(dir.path());
    every_request(&store, &mut log, 2_000).await;
    let many = costs(dir.path());
    drop(store);

    assert!(many.len() > 60, "only {} statements were seen", many.len());
    for (sql, cost) in &many {
        let told = format!("{sql}\n{cost:?}, with little stored {:?}", few.get(sql));
        assert_eq!((cost.scanned, cost.sorts, cost.automatic_indexes), (0, 0, 0), "{told}");
        let before = few.get(sql).unwrap_or_else(|| panic!("it wasn't run with little stored: {told}"));
        assert!(cost.steps <= before.steps + before.steps / 4 + 20, "{told}");
    }
}

/// Stores much at once: sessions like the first, facts like its last. The log is told where it ends now.
fn grow(dir: &Path, sessions: u64, facts: u64, log: &mut Log) {
    let db = Connection::open(dir.join("tenure.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    let count = format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {sessions})");
    let last = log.row.seq;
    db.execute_batch(&format!(
        "BEGIN;
         {count} INSERT INTO sessions (id, tenant, created_at, agent, agent_version, environment, seq, last_at, phase, archived,
             unsettled, wake_at, format, summary)
         SELECT randomblob(16), tenant, created_at + n, agent, agent_version, environment, seq, last_at,
             CASE n % 50 WHEN 0 THEN 'working' ELSE phase END, n % 7 = 0, n % 50 = 0, CASE n % 3 WHEN 0 THEN n END, format, summary
             FROM sessions, n WHERE sessions.key = 1;
         INSERT INTO labels SELECT tenant, 'common', created_at, id, key FROM sessions WHERE key NOT IN (SELECT session FROM labels);
         INSERT INTO definitions SELECT s.key, d.format, d.body FROM sessions s, definitions d
             WHERE d.session = 1 AND s.key NOT IN (SELECT session FROM definitions);
         {count} INSERT INTO feed (tenant, session, seq, at, format, kind)
             SELECT tenant, key, 1, 1, 1, CAST('{{\"type\":\"created\"}}' AS BLOB) FROM sessions, n WHERE key = 1;
         {count} INSERT INTO answers SELECT x'{tenant:032x}', hex(randomblob(8)), NULL, zeroblob(32), 200, x'', 1, 5 + n FROM n;
         {count} INSERT INTO secrets SELECT hex(randomblob(8)), x'' FROM n LIMIT 50;
         {count} INSERT INTO named_blobs SELECT lower(hex(randomblob(32))), 2 FROM n;
         {count} INSERT INTO facts (session, seq, at, format, kind, item_id, body)
             SELECT session, {last} + n, at, format, kind, item_id, body FROM facts, n WHERE session = 1 AND seq = 2 AND n <= {facts};
         UPDATE sessions SET seq = (SELECT max(seq) FROM facts WHERE session = 1) WHERE key = 1;
         COMMIT",
        tenant = TENANT.bits(),
    ))
    .unwrap();
    log.row.seq = db.query_row("SELECT seq FROM sessions WHERE key = 1", [], |row| row.get(0)).unwrap();
}

/// Every request of the port, with what makes it look far and wide. `new` is where ids may begin that weren't there.
async fn every_request(store: &SqliteStore, log: &mut Log, new: u128) {
    let id = log.id();
    let end = log.row.seq;
    let now = Timestamp::from_micros(3);
    let middle = Position { created_at: Timestamp::from_micros(1_050), id: 1 };

    let text: Vec<Fact> = (0..3).map(|_| log.message("more")).collect();
    let mut append = log.append(text);
    append.feed = vec![FeedKind::PhaseChanged { phase: Phase::Working }];
    append.answer = Some(answer(&format!("key {new}"), 1, 1_000_000_000));
    store.append(append).await.unwrap();
    log.row.wake_at = Some(Timestamp::from_micros(new as i64));
    store.append(log.say(1)).await.unwrap();
    let big = log.message(&"x".repeat(50_000));
    store.append(log.append([big])).await.unwrap();
    let mut created = Log::new(new);
    created.row.labels = [format!("label {new}")].into();
    store.append(created.create()).await.unwrap();
    created.row.labels = [format!("other {new}")].into();
    store.append(created.say(1)).await.unwrap();

    assert_eq!(store.read_facts(id, end - 20, 20).await.unwrap().len(), 20);
    assert_eq!(store.read_facts(id, 5, 20).await.unwrap().len(), 20);
    assert_eq!(store.read_facts_at(id, vec![1, end / 2, end]).await.unwrap().len(), 3);
    assert!(store.head(id).await.unwrap() > Some(end));
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for (after, before) in [(0, None), (end / 2, None), (0, Some(end / 2))] {
            let except = vec!["session_running"];
            let all = FactQuery { after, before, order, except, ..FactQuery::all(id, 20) };
            assert_eq!(store.query_facts(all.clone()).await.unwrap().len(), 20);
            let at = TimeRange { gte: Some(log.row.created_at), lte: Some(log.row.updated_at), ..TimeRange::default() };
            assert!(!store.query_facts(FactQuery { at, ..all.clone() }).await.unwrap().is_empty());
            let only = Some(vec!["message_said"]);
            assert_eq!(store.query_facts(FactQuery { only, except: Vec::new(), ..all }).await.unwrap().len(), 20);
        }
    }
    store.save_state(id, CachedState { seq: end, format: 1, blob: vec![0; 100] }).await.unwrap();
    assert!(store.load_state(id).await.unwrap().is_some());
    assert!(store.answer(TENANT, format!("key {new}"), now).await.unwrap().is_some());
    store.keep_answer(answer(&format!("kept {new}"), 1, 1_000_000_000), Some(id)).await.unwrap();
    store.forget_answer(TENANT, format!("kept {new}")).await.unwrap();
    assert_eq!(store.sweep_answers(Timestamp::from_micros(1_000_000), 20).await.unwrap(), 20);

    assert!(store.session(Some(TENANT), id).await.unwrap().is_some());
    let newest = || SessionQuery::newest(TENANT, 20);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for start in [None, Some(Start::After(middle)), Some(Start::Before(middle))] {
            for include_archived in [false, true] {
                let page = SessionQuery { order, start, include_archived, ..newest() };
                assert_eq!(store.sessions(page.clone()).await.unwrap().rows.len(), 20);
                let agent = Some(AgentId::from_bits(1));
                let of_agent = SessionQuery { agent, agent_version: Some(1), ..page.clone() };
                assert_eq!(store.sessions(of_agent).await.unwrap().rows.len(), 20);
                for (labels, most) in [(&["common"][..], 20), (&["rare"], 1), (&["common", "rare"], 1)] {
                    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
                    let found = store.sessions(SessionQuery { labels, ..page.clone() }).await.unwrap().rows.len();
                    assert!(found <= most && (found == 20 || most == 1), "{found} of {most}");
                }
                let created = TimeRange { gte: Some(Timestamp::from_micros(1_001)), ..TimeRange::default() };
                store.sessions(SessionQuery { created, ..page.clone() }).await.unwrap();
                let phases = Some(vec![Phase::Waiting, Phase::Failed]);
                assert_eq!(store.sessions(SessionQuery { phases, ..page }).await.unwrap().rows.len(), 0);
            }
        }
    }
    store.sessions_by_prefix(TENANT, "0000".to_owned(), 2).await.unwrap();
    assert_eq!(store.due(Timestamp::from_micros(1_000_000_000), 20).await.unwrap().len(), 20);
    assert!(store.next_due().await.unwrap().is_some());
    for after in [None, Some(id)] {
        assert_eq!(store.session_ids(after, 20).await.unwrap().len(), 20);
        assert!(!store.unsettled(after, 3).await.unwrap().is_empty());
    }
    for after in [0, 100] {
        assert_eq!(store.feed(TENANT, after, 20).await.unwrap().len(), 20);
    }
    assert!(store.delete_session(created.id()).await.unwrap());
    assert!(store.append(Log::new(new).create()).await.is_err());
    assert_eq!(store.purges().await.unwrap(), [created.id()]);
    store.purge_done(created.id()).await.unwrap();

    store.create_agent(agent_record(new, &format!("slug {new}"), 10), None).await.unwrap();
    store.create_environment(environment_record(new, &format!("name {new}"), 10), None).await.unwrap();
    store.create_key(key_record(new, &format!("hash {new}")), None).await.unwrap();
    let listed = || ResourceQuery { include_archived: true, ..ResourceQuery::newest(TENANT, 20) };
    assert!(!store.agents(listed()).await.unwrap().rows.is_empty());
    assert!(!store.environments(listed()).await.unwrap().rows.is_empty());
    assert!(!store.keys(TENANT).await.unwrap().is_empty());
    assert!(store.agent(TENANT, AgentId::from_bits(1)).await.unwrap().is_some());
    assert!(store.agent_version(TENANT, AgentId::from_bits(1), 1).await.unwrap().is_some());
    assert!(store.agent_by_slug(TENANT, "one".to_owned()).await.unwrap().is_some());
    assert_eq!(store.agent_versions(TENANT, AgentId::from_bits(1), None, 5).await.unwrap().len(), 1);
    assert!(store.environment(TENANT, EnvironmentId::from_bits(2)).await.unwrap().is_some());
    assert!(store.environment_by_name(TENANT, "two".to_owned()).await.unwrap().is_some());
    assert!(store.key_by_hash("hash".to_owned()).await.unwrap().is_some());
    store.revoke_key(TENANT, KeyId::from_bits(new), now).await.unwrap();
    store.put_secret(format!("secret {new}"), b"x".to_vec()).await.unwrap();
    assert!(store.secret(format!("secret {new}")).await.unwrap().is_some());
    store.put_setting(format!("setting {new}"), Some("x".to_owned())).await.unwrap();
    assert!(store.setting(format!("setting {new}")).await.unwrap().is_some());
    assert!(!store.has_blob(BlobId::from_hex(&"0".repeat(64)).unwrap()).await.unwrap());
    assert_eq!(store.head(SessionId::from_bits(u128::MAX)).await.unwrap(), None);
}
