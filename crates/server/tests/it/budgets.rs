//! What sessions use and cost, and what they may. A token of output of a priced model costs a tenth of a cent, a thousand
//! of any others as much.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_core::price::Usd;
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, TestServer, budget, engine_config, id, ids, message};

/// A reply that costs two cents and calls a tool that there isn't, so that the model is asked again at once.
const FIRST: &str = "{tools: [{name: nonsense}], usage: {output: 20}}";

fn stop(frame: &Frame) -> &str {
    frame.data["stop_reason"]["type"].as_str().unwrap()
}

async fn raise(server: &TestServer, session: &str, cents: &str) -> Value {
    server.post(&format!("/v1/sessions/{session}"), json!({"budget": budget(cents)})).await.ok()
}

#[tokio::test]
async fn a_budget_stops_the_agent_between_calls_and_raising_it_lets_it_go_on() {
    let server = TestServer::start().await;
    server.agent("priced-spender", &[FIRST, "text: done"]).await;
    let session = server.session_within("priced-spender", "2").await;
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "go").await;

    let told = server.until(&session, 0, "session.status_idle").await;
    let [thread, usage, idle] = &told[told.len() - 3..] else { panic!("{told:?}") };
    assert_eq!([thread.kind(), usage.kind()], ["session.thread_status_idle", "session.usage"]);
    assert_eq!([stop(thread), stop(idle)], ["budget_reached"; 2]);
    assert_eq!(usage.data["usage"]["list_cost"], json!({"amount": "2", "currency": "USD"}));
    assert_eq!(usage.data["budget"], budget("2"));
    let seen = server.get(&path).await.ok();
    assert_eq!((&seen["status"], &seen["budget"]), (&json!("idle"), &budget("2")));
    assert_eq!(seen["usage"]["list_cost"]["amount"], "2");

    let events = format!("{path}/events");
    let refused = server.post(&events, json!({"events": [message("more")]})).await.problem(400);
    assert!(refused.contains("$0.02 of $0.02 are used up. Raise `budget` with an update"), "{refused}");
    let interrupted = server.post(&events, json!({"events": [{"type": "user.interrupt"}]})).await.ok();
    assert_eq!(interrupted["data"], json!([]), "accepted, and not recorded");
    let cursor = server.get(&path).await.ok()["tenure"]["cursor"].clone();
    assert_eq!(cursor, told.last().unwrap().cursor.clone().unwrap().as_str());

    let raised = raise(&server, &session, "100").await;
    assert_eq!((&raised["status"], &raised["budget"]), (&json!("running"), &budget("100")));
    let after = idle.id.unwrap();
    let told = server.until(&session, after, "session.status_idle").await;
    let kinds: Vec<&str> = told.iter().map(Frame::kind).collect();
    assert_eq!(kinds[..3], ["session.updated", "session.status_running", "session.thread_status_running"]);
    assert_eq!(told[0].data["budget"], budget("100"));
    assert!(told[0].data.get("title").is_none(), "only what has changed is told");
    assert!(kinds.contains(&"agent.message"));
    assert_eq!(stop(told.last().unwrap()), "end_turn");
}

#[tokio::test]
async fn a_turn_may_stop_at_its_start_and_what_was_queued_waits_on() {
    let server = TestServer::start().await;
    let steps = ["{text: one, usage: {output: 20}}"];
    server.agent("priced-brief", &steps).await;
    let session = server.session_within("priced-brief", "2").await;
    server.say(&session, "go").await;
    let first = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(stop(first.last().unwrap()), "end_turn", "all is spent, and the agent was done");
    server.say(&session, "again").await;
    let after = first.last().unwrap().id.unwrap();
    let second = server.until(&session, after, "session.status_idle").await;
    let kinds: Vec<&str> = second.iter().map(Frame::kind).collect();
    let expected = ["session.status_running", "session.thread_status_running", "user.message"];
    assert_eq!(kinds[..3], expected, "the message is part of the conversation");
    assert!(!kinds.contains(&"span.model_request_start"), "no model is asked: {kinds:?}");
    assert_eq!(stop(second.last().unwrap()), "budget_reached");

    // Removing it is as good as raising it.
    let removed = server.post(&format!("/v1/sessions/{session}"), json!({"budget": null})).await.ok();
    assert_eq!(removed["budget"], Value::Null);
    let after = second.last().unwrap().id.unwrap();
    let third = server.until(&session, after, "session.status_idle").await;
    assert_eq!(third[0].data["budget"], Value::Null);
    assert_eq!(stop(third.last().unwrap()), "end_turn");

    server.agent("priced-waiter", &["{tools: [{name: bash, input: {command: wait}}], usage: {output: 20}}"]).await;
    let session = server.session_within("priced-waiter", "2").await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    let queued = server.say(&session, "and then").await;
    server.engine.backend.release(call);
    let told = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(stop(told.last().unwrap()), "budget_reached");
    let queue = server.get(&format!("/v1/sessions/{session}/queue")).await.ok();
    assert_eq!(ids(&queue), [queued]);
}

#[tokio::test]
async fn wrong_budgets_are_refused_by_name() {
    let server = TestServer::start().await;
    server.agent("priced-spender", &["text: done"]).await;
    let limit = |cost: Value| json!({"type": "limit", "max_list_cost": cost});
    let amount = |amount: Value| limit(json!({"amount": amount, "currency": "USD"}));
    let wrong_amount = "budget.max_list_cost.amount: expected whole cents above 0 as a string";
    for (given, expected) in [
        (json!("25"), "budget: expected an object, got `25`"),
        (json!({}), "budget.type: expected `limit`, but the field is missing"),
        (json!({"type": "cap"}), "budget.type: expected `limit`, got `cap`"),
        (json!({"type": "limit"}), "budget.max_list_cost: expected an object"),
        (limit(json!(25)), "budget.max_list_cost: expected an object, got 25"),
        (limit(json!({})), wrong_amount),
        (amount(json!(2500)), wrong_amount),
        (amount(json!("0")), wrong_amount),
        (amount(json!("025")), wrong_amount),
        (amount(json!("-1")), wrong_amount),
        (amount(json!("2.50")), wrong_amount),
        (amount(json!("")), wrong_amount),
        (amount(json!("1234567890123")), wrong_amount),
        (limit(json!({"amount": "1"})), "budget.max_list_cost.currency: expected `USD`, but the field is missing"),
        (limit(json!({"amount": "1", "currency": "EUR"})), "budget.max_list_cost.currency: expected `USD`, got `EUR`"),
    ] {
        let body = json!({"agent": "priced-spender", "environment_id": "default", "budget": given});
        let problem = server.post("/v1/sessions", body).await.problem(400);
        assert!(problem.starts_with(expected), "{given}: {problem}");
        let session = server.session_within("priced-spender", "100").await;
        let problem = server.post(&format!("/v1/sessions/{session}"), json!({"budget": given})).await.problem(400);
        assert!(problem.starts_with(expected), "{given}: {problem}");
    }
}

#[tokio::test]
async fn a_budget_needs_a_price_and_is_raised_but_not_added() {
    let server = TestServer::start().await;
    server.agent("priced-spender", &["{text: done, usage: {output: 1001}}"]).await;
    server.agent("free", &["text: done"]).await;
    let make = |agent: Value| json!({"agent": agent, "environment_id": "default", "budget": budget("500")});
    let with = |id: &str, model: &str| json!({"type": "agent_with_overrides", "id": id, "model": model});
    for agent in [json!("free"), with("priced-spender", "script/free")] {
        let problem = server.post("/v1/sessions", make(agent)).await.problem(400);
        assert!(problem.starts_with("budget: model_not_budgetable: `script/free` has no list price"), "{problem}");
    }
    let made = server.post("/v1/sessions", make(with("free", "script/priced-spender"))).await.ok();
    assert_eq!(made["budget"], budget("500"));

    let session = id(&made);
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "go").await;
    server.until(&session, 0, "session.status_idle").await;
    for cents in ["100", "101"] {
        let problem = server.post(&path, json!({"budget": budget(cents)})).await.problem(400);
        assert!(problem.starts_with("budget.max_list_cost.amount: budget_not_raised: expected more"), "{problem}");
    }
    // Less than it was, and more than is spent.
    assert_eq!(raise(&server, &session, "102").await["budget"], budget("102"));
    let cursor = server.get(&path).await.ok()["tenure"]["cursor"].clone();
    assert_eq!(raise(&server, &session, "102").await["tenure"]["cursor"], cursor, "no change, no event");
    assert_eq!(server.post(&path, json!({"title": "t", "budget": null})).await.ok()["budget"], Value::Null);
    let problem = server.post(&path, json!({"budget": budget("900")})).await.problem(400);
    assert!(problem.starts_with("budget: budget_create_only: "), "{problem}");
    assert_eq!(server.post(&path, json!({"budget": null})).await.ok()["title"], "t", "null stays null");
    let never = server.session("free").await;
    let problem = server.post(&format!("/v1/sessions/{never}"), json!({"budget": budget("9")})).await.problem(400);
    assert!(problem.starts_with("budget: budget_create_only: "), "{problem}");
}

#[tokio::test]
async fn what_was_used_and_what_it_costs_is_told_everywhere() {
    let mut config = engine_config();
    config.models.running_hour = Usd::from_cents(8);
    let server = TestServer::of_engine(config).await;
    let usage = "usage: {input: 1000, output: 20, cache_read: 300, cache_write_5m: 4, cache_write_1h: 5}";
    let wait = "{tools: [{name: bash, input: {command: wait}}]}";
    server.agent("priced-user", &[wait, &format!("{{text: done, {usage}}}")]).await;
    server.agent("free", &["text: done"]).await;
    let session = server.session("priced-user").await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.engine.clock.advance(Duration::from_secs(1_800));
    server.engine.backend.release(call);
    let told = server.until(&session, 0, "session.status_idle").await;

    let expected = |cents: &str| {
        json!({
            "input_tokens": 1000,
            "output_tokens": 20,
            "cache_read_input_tokens": 300,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
            "server_tool_use": {"web_fetch_requests": 0, "web_search_requests": 0},
            "active_seconds": 1800.0,
            "list_cost": {"amount": cents, "currency": "USD"},
        })
    };
    // 2.13 cents of tokens, and half an hour.
    assert_eq!(told[told.len() - 2].data["usage"], expected("7"));
    let seen = server.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(seen["usage"], expected("7"));
    assert_eq!(seen["stats"], json!({"active_seconds": 1800.0, "duration_seconds": 1800.0}));
    assert_eq!(server.get("/v1/sessions").await.ok()["data"][0]["usage"], expected("7"));
    let threads = server.get(&format!("/v1/sessions/{session}/threads")).await.ok();
    assert_eq!(threads["data"][0]["usage"], expected("3"), "the time is the session's");

    let free = server.session("free").await;
    server.say(&free, "go").await;
    let told = server.until(&free, 0, "session.status_idle").await;
    assert_eq!(told[told.len() - 2].data["usage"].get("list_cost"), None, "nobody knows the price");
    assert_eq!(server.get(&format!("/v1/sessions/{free}")).await.ok()["usage"].get("list_cost"), None);
}

#[tokio::test]
async fn a_request_that_a_crash_cut_off_is_booked_and_made_anew_only_within_the_budget() {
    let model = FakeModel::start([Answer::Hang, Answer::Hang, Answer::Text("done")]).await;
    let mut server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    server.agent_with(json!({"name": "priced", "model": "claude-priced"})).await;
    // The message is four thousand tokens, four tenths of a cent.
    let session = server.session_within("priced", "1").await;
    server.say(&session, &"word".repeat(4_000)).await;
    for crash in 1..=2 {
        model.wait_asked(crash).await;
        server.crash_and_restart().await;
    }
    let told = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(stop(told.last().unwrap()), "budget_reached");
    assert_eq!(told[told.len() - 2].data["usage"]["list_cost"]["amount"], "1");
    assert_eq!(model.requests().len(), 2, "the third isn't made");

    raise(&server, &session, "2").await;
    let told = server.until(&session, told.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(stop(told.last().unwrap()), "end_turn");
    assert_eq!(model.requests().len(), 3);
}
