//! Threads.

use super::super::status::Status;
use super::super::wire::{Page, Thread};
use super::events;
use crate::openapi::{Operation, Parameter, Schemas};

pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    let parameters = [
        Parameter::words("statuses", &Status::ALL.map(Status::name), "Only those in one of these states."),
        Parameter::limit(1_000, 1_000),
        Parameter::page(),
    ];
    Operation::new("list_threads", schemas.of::<Page<Thread<'_>>>()).with(parameters)
}

pub(crate) fn retrieve(schemas: &mut Schemas) -> Operation {
    Operation::new("retrieve_thread", schemas.of::<Thread<'_>>())
}

pub(crate) fn archive(schemas: &mut Schemas) -> Operation {
    Operation::new("archive_thread", schemas.of::<Thread<'_>>()).bare()
}

pub(crate) fn list_events(schemas: &mut Schemas) -> Operation {
    events::list(schemas).named("list_thread_events")
}

pub(crate) fn stream_events(schemas: &mut Schemas) -> Operation {
    events::stream(schemas).named("stream_thread_events")
}
