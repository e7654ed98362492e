use std::sync::Arc;

use tenure_core::id::SandboxId;
use tenure_core::session::{Absent, Sandbox};
use tenure_core::time::Timestamp;
use tenure_store::Store;

use crate::fixture::Log;

pub(super) async fn due_sessions_come_in_their_order(store: Arc<dyn Store>) {
    let at = Timestamp::from_micros;
    assert_eq!(store.next_due().await.unwrap(), None);
    let mut logs = [(1, Some(30)), (2, None), (3, Some(10)), (4, Some(20))].map(|(id, wake_at)| {
        let mut log = Log::new(id);
        log.row.wake_at = wake_at.map(at);
        log
    });
    for log in &mut logs {
        store.append(log.create()).await.unwrap();
    }
    let [one, _, three, four] = &mut logs;
    assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    assert_eq!(store.due(at(9), 10).await.unwrap(), []);
    assert_eq!(store.due(at(20), 10).await.unwrap(), [three.id(), four.id()]);
    assert_eq!(store.due(at(99), 2).await.unwrap(), [three.id(), four.id()]);

    three.row.wake_at = None;
    store.append(three.say(1)).await.unwrap();
    one.row.wake_at = Some(at(5));
    store.append(one.say(1)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(5)));
    assert_eq!(store.due(at(99), 10).await.unwrap(), [one.id(), four.id()]);
}

pub(super) async fn unsettled_sessions_are_found(store: Arc<dyn Store>) {
    let mut logs = [1, 2, 3, 4].map(Log::new);
    logs[1].row.unsettled = true;
    logs[2].row.sandbox = Sandbox::Starting { sandbox: SandboxId::from_bits(1) };
    for log in &mut logs {
        store.append(log.create()).await.unwrap();
    }
    let [one, two, three, _] = &mut logs;
    assert_eq!(store.unsettled(None, 10).await.unwrap(), [two.id(), three.id()]);
    assert_eq!(store.unsettled(None, 1).await.unwrap(), [two.id()]);
    assert_eq!(store.unsettled(Some(two.id()), 10).await.unwrap(), [three.id()]);

    two.row.unsettled = false;
    store.append(two.say(1)).await.unwrap();
    three.row.sandbox = Sandbox::Absent { why: Absent::Stopped };
    store.append(three.say(1)).await.unwrap();
    one.row.unsettled = true;
    store.append(one.say(1)).await.unwrap();
    assert_eq!(store.unsettled(None, 10).await.unwrap(), [one.id()]);
}

pub(super) async fn ids_are_walked(store: Arc<dyn Store>) {
    for id in [3, 1, u128::MAX, 0] {
        store.append(Log::new(id).create()).await.unwrap();
    }
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let ids = store.session_ids(after, 3).await.unwrap();
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        walked.extend(ids.iter().map(|id| id.bits()));
    }
    assert_eq!(walked, [0, 1, 3, u128::MAX]);
}
