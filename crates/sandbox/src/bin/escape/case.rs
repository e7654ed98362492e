use serde::{Deserialize, Serialize, Serializer};

/// One of the ways out that the suite knows.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) probes: &'static [Probe],
    /// Tests elsewhere that prove what no program inside can try.
    pub(crate) elsewhere: &'static [&'static str],
    /// What of it has to wait until sandboxes have a network.
    pub(crate) with_egress: Option<&'static str>,
}

/// One attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) tries: &'static str,
    pub(crate) control: Control,
    /// As above, in the sandboxes of an ordinary user, where that is another.
    pub(crate) rootless: Option<Control>,
    /// As above, where such a user has but one id.
    pub(crate) with_one_id: Option<Control>,
    #[serde(serialize_with = "as_nothing")]
    pub(crate) run: fn(&Input) -> Outcome,
}

/// How it is shown that the attempt itself is sound.
#[derive(Debug, Serialize)]
pub(crate) enum Control {
    /// It gets out of a sandbox without these fences, and of none that has but one of them.
    Without(&'static [&'static str]),
    /// It can't be shown, and why.
    None(&'static str),
}

/// What came of an attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It got out: what it had in its hands.
    Reached(String),
    /// It did not: what it met.
    Blocked(String),
    /// It can't be made with this kernel, or the kernel's settings forbid it everywhere: which.
    NotApplicable(String),
    /// The attempt itself went wrong.
    Broken(String),
}

/// What the suite has made for the probes to act upon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Input {
    /// What only the suite's own objects hold.
    pub(crate) nonce: String,
    /// A file of the host that has the nonce.
    pub(crate) host_file: String,
    /// A socket of the host, by its path; who connects is sent the nonce.
    pub(crate) socket_path: String,
    /// A socket of the host with an abstract name, as above.
    pub(crate) abstract_socket: String,
    /// A process of the host, of the same user as the tools.
    pub(crate) process: i32,
    /// The key of a segment of shared memory of the host that begins with the nonce.
    pub(crate) shared_memory: i32,
    /// A block device that begins with the nonce, by its numbers.
    pub(crate) device: Option<(u32, u32)>,
    /// A directory of the sandbox that holds what its layer was given: `disk`, a node of that device, and `setuid`, a copy
    /// of this program that belongs to the sandbox's root and has the set-user-id bit.
    pub(crate) planted: String,
    /// The port on which the suite listens on every address.
    pub(crate) port: u16,
    /// The port on which another sandbox listens on its loopback device.
    pub(crate) other_port: u16,
}

fn as_nothing<S: Serializer>(_: &fn(&Input) -> Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_unit()
}
