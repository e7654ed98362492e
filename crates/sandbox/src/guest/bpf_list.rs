use std::collections::BTreeSet;

use seccompiler::{BpfProgram, sock_filter};

/// A filter that allows these system calls of this architecture, answers ENOSYS to all others, and ends a process that
/// calls through another architecture's door.
///
/// It searches by halves. When a filter is installed the kernel runs it for every call there is, to remember which are
/// always allowed; a list compared one by one makes that cost as much as all other steps of making a namespace.
pub(crate) fn allow(calls: BTreeSet<u32>, architecture: u32) -> BpfProgram {
    let mut program = vec![
        statement(LOAD_WORD, ARCHITECTURE_AT),
        jump(JUMP_IF_EQUAL, architecture, 1, 0),
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        statement(LOAD_WORD, NUMBER_AT),
    ];
    search(&borders(&calls), false, &mut program);
    program
}

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where a filter's input has the call's number and the architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// Where runs of allowed numbers begin (`true`) and have ended (`false`).
fn borders(calls: &BTreeSet<u32>) -> Vec<(u32, bool)> {
    let begins = calls.iter().filter(|call| call.checked_sub(1).is_none_or(|before| !calls.contains(&before)));
    let ends = calls.iter().map(|call| call + 1).filter(|after| !calls.contains(after));
    let mut borders: Vec<(u32, bool)> =
        begins.map(|call| (*call, true)).chain(ends.map(|after| (after, false))).collect();
    borders.sort_unstable();
    borders
}

/// Appends the search among these borders; `below` says whether numbers below the first of them are allowed.
fn search(borders: &[(u32, bool)], below: bool, program: &mut BpfProgram) {
    let Some(((border, allowed), at)) = borders.get(borders.len() / 2).copied().zip(Some(borders.len() / 2)) else {
        let answer = if below { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 };
        return program.push(statement(RETURN, answer));
    };
    let here = program.len();
    program.push(jump(JUMP_IF_AT_LEAST, border, 0, 0));
    search(&borders[..at], below, program);
    program[here].jt = u8::try_from(program.len() - here - 1).expect("half of the list is shorter than a jump");
    search(&borders[at + 1..], allowed, program);
}

fn statement(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::{JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, LOAD_WORD, allow};

    /// Runs a filter as the kernel does.
    fn answer(program: &[seccompiler::sock_filter], architecture: u32, number: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let step = &program[at];
            let (code, k) = (u32::from(step.code), step.k);
            let jumps = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            at += 1;
            match code {
                LOAD_WORD => word = if k == 0 { number } else { architecture },
                JUMP_IF_EQUAL => at += jumps(word == k),
                JUMP_IF_AT_LEAST => at += jumps(word >= k),
                _ => return k,
            }
        }
    }

    #[test]
    fn exactly_the_listed_calls_are_allowed() {
        for listed in [vec![], vec![0], vec![0, 1, 2], vec![5, 7, 8, 400], (0..300).filter(|n| n % 3 != 0).collect()] {
            let program = allow(listed.iter().copied().collect(), 9);
            for number in (0..500).chain([0x4000_0001, u32::MAX]) {
                let expected =
                    if listed.contains(&number) { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_ERRNO | 38 };
                assert_eq!(answer(&program, 9, number), expected, "{number} of {listed:?}");
            }
            assert_eq!(answer(&program, 8, 0), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
