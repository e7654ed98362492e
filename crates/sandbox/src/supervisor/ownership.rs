//! Whose a sandbox's user namespace is.
//!
//! Of some things the kernel lets each user of the host have so many: inotify instances, namespaces. What a namespace's processes
//! take of them counts as its maker's, too. So each sandbox's has another maker, who has nothing else, and no sandbox takes another's
//! share. Nobody is that user outside of the sandbox, so nobody has an owner's rights over it.

use std::io;
use std::sync::OnceLock;

use super::Standing;
use crate::guest::privileges;

/// While it lives, namespaces that this process makes are another user's.
#[derive(Debug)]
pub(super) struct Ownership {
    /// Whether processes of the same user may look into this one otherwise; nothing where nothing has changed.
    dumpable: Option<bool>,
}

impl Ownership {
    /// Where sandboxes can't have makers of their own, it changes nothing.
    pub(super) fn of(uid: u32) -> io::Result<Self> {
        if !is_given_away() {
            return Ok(Self { dumpable: None });
        }
        let (ours, dumpable) = (privileges::capabilities()?, privileges::is_dumpable());
        privileges::act_as(uid)?;
        let ownership = Self { dumpable: Some(dumpable) };
        // Who isn't root loses them, but for what it may take again; hosts that restrict user namespaces want to see them.
        privileges::set_capabilities(ours)?;
        Ok(ownership)
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let Some(dumpable) = self.dumpable else { return };
        // It can't fail: root is still the user that this process was started by.
        let _ = privileges::act_as(0);
        if dumpable {
            privileges::be_dumpable();
        }
    }
}

/// Whether sandboxes have makers of their own. An ordinary user has but one id. And who lacks rights on the host that a supervisor
/// needs (in a container, say) has them over a namespace only as its owner. A keeper has this from its supervisor.
pub(crate) fn is_given_away() -> bool {
    static GIVEN_AWAY: OnceLock<bool> = OnceLock::new();
    *GIVEN_AWAY.get_or_init(|| {
        let ours = privileges::capabilities();
        Standing::ours() == Standing::Root && ours.is_ok_and(privileges::Capabilities::can_do_without_owning)
    })
}
