use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

/// A filter that gives these system calls of this architecture these answers, ENOSYS to all others, and ends a process that
/// calls through another architecture's door.
///
/// It searches by halves. When a filter is installed the kernel runs it for every call there is, to remember which are
/// always allowed; a list compared one by one makes that cost as much as all other steps of making a namespace.
pub(crate) fn answers(calls: &BTreeMap<u32, u32>, architecture: u32) -> BpfProgram {
    let mut program = vec![
        statement(LOAD_WORD, ARCHITECTURE_AT),
        jump(JUMP_IF_EQUAL, architecture, 1, 0),
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        statement(LOAD_WORD, NUMBER_AT),
    ];
    search(&borders(calls), UNKNOWN, &mut program);
    program
}

/// Answers.
pub(crate) const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
pub(crate) const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where a filter's input has the call's number and the architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// From which numbers on which answer is given, up to the next.
fn borders(calls: &BTreeMap<u32, u32>) -> Vec<(u32, u32)> {
    let (mut borders, mut next, mut given) = (Vec::new(), 0, UNKNOWN);
    for (call, answer) in calls.iter().map(|(call, answer)| (*call, *answer)) {
        if call > next && given != UNKNOWN {
            borders.push((next, UNKNOWN));
            given = UNKNOWN;
        }
        if answer != given {
            borders.push((call, answer));
            given = answer;
        }
        next = call + 1;
    }
    if given != UNKNOWN {
        borders.push((next, UNKNOWN));
    }
    borders
}

/// Appends the search among these borders; `below` is the answer to numbers below the first of them.
fn search(borders: &[(u32, u32)], below: u32, program: &mut BpfProgram) {
    let Some(((border, answer), at)) = borders.get(borders.len() / 2).copied().zip(Some(borders.len() / 2)) else {
        return program.push(statement(RETURN, below));
    };
    let here = program.len();
    program.push(jump(JUMP_IF_AT_LEAST, border, 0, 0));
    search(&borders[..at], below, program);
    program[here].jt = u8::try_from(program.len() - here - 1).expect("half of the list is shorter than a jump");
    search(&borders[at + 1..], answer, program);
}

fn statement(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL, LOAD_WORD, REFUSED, UNKNOWN, answers};

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
    fn each_call_gets_its_answer_and_no_other_call_does() {
        let listed = [vec![], vec![0], vec![0, 1, 2], vec![5, 7, 8, 400], (0..150).filter(|n| n % 3 != 0).collect()];
        let refused: [fn(u32) -> bool; 4] = [|_| false, |_| true, |n| n % 2 == 0, |n| n < 7];
        for (listed, is_refused) in listed.iter().flat_map(|listed| refused.map(|refused| (listed, refused))) {
            let wanted = |n: u32| if is_refused(n) { REFUSED } else { ALLOWED };
            let program = answers(&listed.iter().map(|n| (*n, wanted(*n))).collect(), 9);
            for number in (0..500).chain([0x4000_0001, u32::MAX]) {
                let expected = if listed.contains(&number) { wanted(number) } else { UNKNOWN };
                assert_eq!(answer(&program, 9, number), expected, "{number} of {listed:?}");
            }
            assert_eq!(answer(&program, 8, 0), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
