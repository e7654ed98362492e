//! What the processes say to each other: one JSON line per packet, then raw bytes, with descriptors beside it.

mod message;
mod packet;

pub(crate) use message::{
    Build, BuildTask, Control, Greeting, KeeperAsk, KeeperTell, Start, Step, SupervisorAsk, SupervisorTell, Versions,
    decode, encode,
};
pub(crate) use packet::{LONG, Packet, SHORT, length_of_next, receive, send};
