//! What a shell remembers, taken out of it and put into another: so that it need not live while files are sealed.
//!
//! Kept are the directory, variables, functions, aliases, options, traps, positional parameters and the mask for new files. A
//! shell that holds files open can't be given up.

use std::io;

/// How much of it there may be; a shell reads its commands byte by byte.
const MOST_BYTES: usize = 256 * 1024;

/// Counts what a shell has open, in a place where it has opened nothing but what is always open there.
macro_rules! count_open {
    ($then:literal) => {
        concat!("if { builtin set +f; __tenure_fds=(/proc/self/fd/*); ", $then, "; } 2>/dev/null; then :; fi")
    };
}

/// Run by each shell before anything else: notes how much a shell has open that has opened nothing itself.
pub(crate) const PRELUDE: &str =
    concat!("builtin eval '", count_open!("__tenure_few=${#__tenure_fds[@]}"), "' </dev/null 254<&- 253>&-");

/// Variables that are bash's own, or that can't be set as they are.
const NOT_KEPT: &str = "__tenure_*|_|BASH|BASHOPTS|BASHPID|BASH_ALIASES|BASH_ARG*|BASH_CMDS|BASH_COMMAND|BASH_EXECUTION_STRING|\
    BASH_LINENO|BASH_MONOSECONDS|BASH_REMATCH|BASH_SOURCE|BASH_SUBSHELL|BASH_TRAPSIG|BASH_VERSINFO|BASH_VERSION|DIRSTACK|EPOCH*|\
    EUID|FUNCNAME|GROUPS|HISTCMD|LINENO|PIPESTATUS|PPID|PWD|RANDOM|SHELLOPTS|SRANDOM|UID";

/// A loop over the names of all variables that are kept, without a process of its own.
fn for_each_variable(action: &str) -> String {
    let letters = (b'a'..=b'z').chain(b'A'..=b'Z').chain([b'_']);
    let names: Vec<String> = letters.map(|letter| format!("\"${{!{}@}}\"", char::from(letter))).collect();
    format!(
        "for __tenure_name in {}; do case $__tenure_name in {NOT_KEPT}) ;; *) {action};; esac; done",
        names.join(" ")
    )
}

/// A shell's state on its way out of it.
#[derive(Debug)]
pub(crate) struct Saving {
    /// No variable can know this, so what is between two of it is the state.
    mark: String,
    printed: Vec<u8>,
}

impl Saving {
    pub(crate) fn new() -> io::Result<Self> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { mark: format!("{:032x}", u128::from_le_bytes(bits)), printed: Vec::new() })
    }

    /// What the shell has to run. Options and traps, which would disturb that, are as before when it is through.
    pub(crate) fn command(&self) -> Vec<u8> {
        let Self { mark, .. } = self;
        let save = for_each_variable("builtin declare -p -- \"$__tenure_name\"");
        let clear =
            for_each_variable("if [[ ${!__tenure_name@a} == *x* ]]; then builtin unset -v -- \"$__tenure_name\"; fi");
        format!(
            r#"if {{
__tenure_set="builtin set +o braceexpand +o hashall +o interactive-comments -o ${{SHELLOPTS//:/ -o }}"
builtin set +efuvxC
builtin set +o posix
__tenure_traps=$(builtin trap -p)
builtin trap - DEBUG ERR RETURN
__tenure_at=$(builtin pwd && builtin printf x)
}} 2>/dev/null; then :; fi
{}
if {{
[[ ${{#__tenure_fds[@]}} == "$__tenure_few" ]] && {{
builtin printf '%s\n' '{mark} begins'
builtin shopt -p
builtin printf '%s\n' 'builtin shopt -u expand_aliases'
builtin printf 'builtin cd -- %q\n' "${{__tenure_at%$'\nx'}}"
builtin umask -p
builtin printf '%s\n' '{clear}'
{save}
builtin printf 'builtin set --'
for __tenure_name in "$@"; do builtin printf ' %q' "$__tenure_name"; done
builtin printf '\n'
builtin alias -p
builtin declare -f
builtin declare -F
builtin printf '%s\n' "$__tenure_traps" "$__tenure_set"
if builtin shopt -q expand_aliases; then builtin printf '%s\n' 'builtin shopt -s expand_aliases'; fi
builtin printf '%s\n' 'builtin :' '{mark} ends'
}}
builtin eval "$__tenure_traps"
builtin eval "$__tenure_set"
}} 2>/dev/null; then :; fi"#,
            count_open!("builtin :")
        )
        .into_bytes()
    }

    /// Takes what the shell printed.
    pub(crate) fn print(&mut self, bytes: &[u8]) {
        // More than twice what can be kept is of no use, and what counts is the end.
        self.printed.extend_from_slice(bytes);
        let excess = self.printed.len().saturating_sub(2 * MOST_BYTES);
        self.printed.drain(..excess);
    }

    /// What makes another shell the same, if all of it came and there isn't too much.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        let [begins, ends] = ["begins", "ends"].map(|what| format!("{} {what}\n", self.mark).into_bytes());
        let find = |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).rposition(|part| part == wanted);
        let end = find(&self.printed, &ends)?;
        let begin = find(&self.printed[..end], &begins)? + begins.len();
        let state = &self.printed[begin..end];
        // As the argument of `eval` it is read command by command: options that change how functions are read come before these.
        (state.len() <= MOST_BYTES).then(|| [b"builtin eval ", quoted(state).as_slice(), b" >/dev/null 2>&1"].concat())
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in text {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}
