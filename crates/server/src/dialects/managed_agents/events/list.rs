//! Listing what happened: one row for each item, at the fact that took it up, queued ones last.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_core::agent::Agent;
use tenure_core::id::{SessionId, TenantId};
use tenure_engine::{EventPosition, EventQuery, Order, TimeRange};

use super::super::ingest::session_id;
use super::super::project::{TYPES, kinds_of, list as print_list};
use super::frames::printed;
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, Cursor as _, EventCursor, answer};

/// Rows of a page, by default and at most.
const LIMIT: u64 = 1_000;

/// Bytes of a page, roughly: a page of large contents ends early.
const PAGE_BYTES: usize = 16 << 20;

pub(crate) async fn list(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let query = &mut asked.query;
    let types = types(query.many("types"))?;
    let ours = query.flag("tenure_events")?;
    let at = query.times("created_at")?;
    let order = match query.one("order")?.as_deref() {
        None | Some("asc") => Order::OldestFirst,
        Some("desc") => Order::NewestFirst,
        Some(_) => return Err(Problem::invalid("order", "expected `asc` or `desc`")),
    };
    let rewound = query.flag("include_rewound")?;
    let limit = query.integer("limit", 1, LIMIT)?.unwrap_or(LIMIT) as usize;
    let start = match query.one("page")? {
        None => None,
        Some(page) => Some(position(EventCursor::parse(&page, order)?)),
    };
    let kinds = kinds_of(&types, ours);
    let page = read(&app, asked.tenant, session, Wanted { types, kinds, at, order, start, rewound, limit }).await?;
    Ok(answer(asked, page))
}

/// The page of queued input.
pub(crate) async fn queued(app: &App, tenant: TenantId, session: SessionId) -> Result<Vec<u8>, Problem> {
    let (kinds, limit) = (vec!["input_queued"], tenure_core::decide::MAX_QUEUED);
    let (at, order) = (TimeRange::default(), Order::OldestFirst);
    read(app, tenant, session, Wanted { types: Vec::new(), kinds, at, order, start: None, rewound: true, limit }).await
}

struct Wanted {
    types: Vec<String>,
    kinds: Vec<&'static str>,
    at: TimeRange,
    order: Order,
    start: Option<EventPosition>,
    rewound: bool,
    limit: usize,
}

/// Reads until the page is full: a kind of fact may print several types, and clients take an empty page for the end.
async fn read(app: &App, tenant: TenantId, session: SessionId, wanted: Wanted) -> Result<Vec<u8>, Problem> {
    let Wanted { types, kinds, at, order, mut start, rewound, limit } = wanted;
    let sessions = app.engine.sessions();
    let agent = sessions.get(tenant, session).await?.definition.agent.clone();
    let mut rows: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    let next = loop {
        if kinds.is_empty() {
            break None;
        }
        // Pages of large contents are read in small steps, so that their size is noticed in time.
        let limit_now = (limit - rows.len()).min(if bytes > PAGE_BYTES / 4 { 16 } else { limit });
        let query = EventQuery { kinds: Some(kinds.clone()), at, order, start, rewound, limit: limit_now };
        let page = sessions.events(tenant, session, query).await?;
        for stored in &page.facts {
            let row = row(app, &agent, stored, &types).await?;
            bytes += row.as_ref().map_or(0, Vec::len);
            rows.extend(row);
        }
        match page.next {
            None => break None,
            Some(next) if rows.len() >= limit || bytes >= PAGE_BYTES => break Some(next),
            Some(next) => start = Some(next),
        }
    };
    let next = next.map(|position| {
        let (queued, after) = match position {
            EventPosition::Log(after) => (false, after),
            EventPosition::Queue(after) => (true, after),
        };
        EventCursor { order, queued, after }.print()
    });
    let more = format!(r#","next_page":{}"#, next.map_or("null".to_owned(), |cursor| format!("\"{cursor}\"")));
    Ok(print_list(rows.into_iter(), &more))
}

async fn row(
    app: &App,
    agent: &Agent,
    stored: &tenure_core::fact::StoredFact,
    types: &[String],
) -> Result<Option<Vec<u8>>, Problem> {
    let printed = printed(&app.engine, agent, stored).await?;
    let wanted = |kind: &str| types.is_empty() || types.iter().any(|wanted| wanted == kind);
    Ok(printed.filter(|event| wanted(event.kind)).map(|event| event.json))
}

fn position(cursor: EventCursor) -> EventPosition {
    match cursor.queued {
        true => EventPosition::Queue(cursor.after),
        false => EventPosition::Log(cursor.after),
    }
}

fn types(names: Vec<String>) -> Result<Vec<String>, Problem> {
    for name in &names {
        if !TYPES.contains(&name.as_str()) {
            let given: String = name.chars().take(60).collect();
            let message = format!("expected types of events such as `agent.message`, got `{given}`");
            return Err(Problem::invalid("types", message));
        }
    }
    Ok(names)
}
