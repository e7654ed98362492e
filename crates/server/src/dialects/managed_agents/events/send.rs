//! Sending input. All of a request is accepted or none; the answer shows each as it is now, queued or taken up.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_engine::Done;

use super::super::ingest::{self, Said, session_id};
use super::super::project;
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, idempotency};

pub(crate) async fn send(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let Said { inputs, attached, thread, instructs } = ingest::inputs(&mut asked.object()?)?;
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    if let Some((field, thread)) = thread {
        let view = sessions.get(tenant, session).await?;
        if view.summary.thread != thread {
            return Err(Problem::invalid(&field, format!("no thread `{}` in this session", thread.prefixed())));
        }
    }
    if let Some(field) = instructs {
        let model = sessions.get(tenant, session).await?.definition.agent.model.id.clone();
        if !app.engine.providers().takes_instructions(&model) {
            let message = format!(
                "model_does_not_support_mid_conversation_system: {model} takes no system messages in mid-conversation; \
                 put them in the agent's `system`, or take another model"
            );
            return Err(Problem::invalid(&field, message));
        }
    }
    ingest::store(&app.engine, &attached).await?;
    idempotency::once(&app.engine, asked, project::render(attached), async move |keyed| {
        sessions.send(tenant, session, inputs, keyed).await.map(Done::Events)
    })
    .await
}
