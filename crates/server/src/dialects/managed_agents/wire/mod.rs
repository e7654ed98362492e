//! The wire's shapes. What the peer documents and we don't have yet is printed empty, as its types demand.

mod agent;
mod content;
mod environment;
mod event;
mod money;
mod page;
mod session;
mod thread;
mod values;

pub(crate) use agent::{
    Agent, AgentCore, EFFORTS, Model, Policy, Tagged, Tool, ToolConfig, ToolDefaults, ToolFilter, ToolReference,
    UrlSources, WebFetch,
};
pub(crate) use content::{Block, Citations, Source, Text};
pub(crate) use environment::{Config, Environment, Limits, Packages, Root};
pub(crate) use event::{
    Body, CacheCreation, Error, Event, Preview, PreviewDelta, PreviewText, PreviewedEvent, REFUSALS, Refusal,
    ServerToolUse, SpanUsage, StopReason, Usage,
};
pub(crate) use money::{Budget, Money};
pub(crate) use page::{BiPage, Deleted, Page};
pub(crate) use session::{ForkedFrom, Lifetimes, Session, Stats, TenureSession};
pub(crate) use thread::Thread;
pub(crate) use values::{EmptyList, Id, Null, Time, any_object, printed_id, seconds};
