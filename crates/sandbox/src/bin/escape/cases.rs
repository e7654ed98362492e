//! The list of cases. Long because it is one table.

use crate::case::Control::{None as NoControl, Without};
use crate::case::{Case, Control, Input, Outcome, Probe};
use crate::{devices, foreign, kernel, mounts, namespaces, network, processes};

/// What mounting takes: each of these alone forbids it.
const MOUNTING: Control = Without(&["seccomp", "capabilities", "landlock"]);
const NAMESPACES: Control = Without(&["seccomp", "namespace_limits"]);
const OF_THE_KEEPER: Control = Without(&["capabilities", "hidden", "landlock", "scope"]);
const OF_THE_EXECUTOR: Control = Without(&["hidden"]);
const FILES_OF_THE_EXECUTOR: Control = Without(&["hidden", "landlock"]);

const CALLS: Control = Without(&["seccomp"]);
const NETWORK: Control = Without(&["network"]);

const OWNED_BY_ROOT: Control = NoControl("it is the host's root's, whom an ordinary user can't become");

const fn probe(name: &'static str, tries: &'static str, control: Control, run: fn(&Input) -> Outcome) -> Probe {
    Probe { name, tries, control, rootless: None, with_one_id: None, run }
}

/// In the sandboxes of an ordinary user something else shows it.
const fn rootless(mut probe: Probe, control: Control) -> Probe {
    probe.rootless = Some(control);
    probe
}

/// In the sandboxes of an ordinary user with one id, whose keeper and tools are one and the same, other fences count.
const fn with_one_id(mut probe: Probe, control: Control) -> Probe {
    probe.with_one_id = Some(control);
    probe
}

const fn case(number: u8, title: &'static str, probes: &'static [Probe]) -> Case {
    Case { number, title, probes, elsewhere: &[], with_egress: None }
}

const fn proved_by(mut case: Case, elsewhere: &'static [&'static str]) -> Case {
    case.elsewhere = elsewhere;
    case
}

const fn with_egress(mut case: Case, what: &'static str) -> Case {
    case.with_egress = Some(what);
    case
}

/// Every case, in the order of their numbers.
pub(crate) const CASES: &[Case] = &[
    case(
        1,
        "mounting",
        &[
            probe("mount", "mount a tmpfs", MOUNTING, mounts::tmpfs),
            probe("mount-bind", "mount a directory at another place", MOUNTING, mounts::bind),
            probe(
                "mount-new",
                "make a file system by fsopen and fsmount",
                Without(&["seccomp", "capabilities", "namespace_limits"]),
                mounts::new_calls,
            ),
        ],
    ),
    case(
        2,
        "making read-only mounts writable",
        &[
            probe("remount-sys", "remount /proc/sys", MOUNTING, mounts::writable_proc_sys),
            probe("remount-usr", "remount /usr", MOUNTING, mounts::writable_usr),
        ],
    ),
    case(
        3,
        "uncovering what is hidden",
        &[probe("unmount", "unmount what hides a file of /proc", MOUNTING, mounts::uncover)],
    ),
    case(
        4,
        "new namespaces",
        &[
            probe("unshare-user", "unshare a user namespace", NAMESPACES, namespaces::unshare_user),
            probe("clone-user", "clone into a user namespace", NAMESPACES, namespaces::clone_user),
            probe("clone3-user", "clone3 into a user namespace", NAMESPACES, namespaces::clone3_user),
            probe(
                "unshare-mounts",
                "unshare a mount namespace",
                Without(&["seccomp", "namespace_limits", "capabilities"]),
                namespaces::unshare_mounts,
            ),
            probe(
                "unshare-network",
                "unshare a network namespace",
                Without(&["seccomp", "namespace_limits", "capabilities"]),
                namespaces::unshare_network,
            ),
            probe(
                "unshare-pids",
                "unshare a process namespace",
                Without(&["seccomp", "namespace_limits", "capabilities"]),
                namespaces::unshare_pids,
            ),
            probe(
                "unshare-cgroups",
                "unshare a cgroup namespace",
                Without(&["seccomp", "namespace_limits", "capabilities"]),
                namespaces::unshare_cgroups,
            ),
        ],
    ),
    case(
        5,
        "namespaces of others",
        &[
            probe("setns", "enter a namespace", Without(&["seccomp", "capabilities"]), namespaces::enter),
            probe("keeper-namespace", "open /proc/1/ns/mnt", OF_THE_KEEPER, namespaces::namespace_of_the_keeper),
        ],
    ),
    case(
        6,
        "files of the host",
        &[
            probe("above-root", "go up from the root", Without(&["old_root", "landlock"]), mounts::above_the_root),
            probe(
                "above-cwd",
                "go up from the working directory",
                Without(&["old_root", "landlock"]),
                mounts::above_the_working_directory,
            ),
            probe(
                "keeper-root",
                "go by /proc/1/root and /proc/1/cwd",
                Without(&["old_root", "capabilities", "hidden", "landlock", "scope"]),
                mounts::root_of_the_keeper,
            ),
        ],
    ),
    case(
        7,
        "settings of the kernel that name programs",
        &[
            rootless(
                probe(
                    "core-pattern",
                    "open core_pattern for writing",
                    Without(&["proc_sys", "own_users", "capabilities", "landlock"]),
                    mounts::core_pattern,
                ),
                OWNED_BY_ROOT,
            ),
            rootless(
                probe(
                    "modprobe",
                    "open modprobe for writing",
                    Without(&["proc_sys", "own_users", "capabilities", "landlock"]),
                    mounts::modprobe,
                ),
                OWNED_BY_ROOT,
            ),
            probe("sysfs", "list /sys/kernel, where uevent_helper is", Without(&["no_sysfs"]), mounts::sysfs),
            probe("binfmt", "mount binfmt_misc", MOUNTING, mounts::binfmt),
        ],
    ),
    case(
        8,
        "the sysrq trigger",
        &[rootless(
            probe(
                "sysrq",
                "open /proc/sysrq-trigger for writing",
                Without(&["masks", "own_users", "capabilities", "landlock"]),
                mounts::sysrq,
            ),
            OWNED_BY_ROOT,
        )],
    ),
    case(
        9,
        "what the kernel tells of itself and of others",
        &[
            probe("kallsyms", "read /proc/kallsyms", Without(&["masks"]), kernel::kallsyms),
            probe("keys", "read /proc/keys", Without(&["masks"]), kernel::keys),
            rootless(
                probe(
                    "timers",
                    "read /proc/timer_list",
                    Without(&["masks", "own_users", "capabilities"]),
                    kernel::timers,
                ),
                OWNED_BY_ROOT,
            ),
            probe(
                "kcore",
                "read /proc/kcore",
                NoControl("the kernel asks for a right over the whole machine"),
                kernel::kcore,
            ),
            probe(
                "kmsg",
                "read /proc/kmsg and /dev/kmsg",
                NoControl("the kernel asks for a right over the whole machine, and the device isn't there"),
                kernel::kmsg,
            ),
        ],
    ),
    case(
        10,
        "release_agent of cgroup version 1",
        &[probe("mount-cgroup-1", "mount a hierarchy of version 1", MOUNTING, mounts::cgroup_1)],
    ),
    case(
        11,
        "files of cgroups",
        &[
            probe("mount-cgroup-2", "mount cgroup2", MOUNTING, mounts::cgroup_2),
            probe("cgroup-files", "list /sys/fs/cgroup", Without(&["no_sysfs"]), mounts::cgroup_files),
        ],
    ),
    case(
        12,
        "block devices",
        &[
            probe(
                "make-node",
                "make a node of the host's disk",
                NoControl("the kernel makes device nodes for nobody in a user namespace"),
                devices::make_node,
            ),
            rootless(
                probe(
                    "planted-node",
                    "read a disk by a node in the layer",
                    Without(&["mount_flags"]),
                    devices::open_planted_node,
                ),
                NoControl("the kernel heeds no device node on what was mounted in a user namespace"),
            ),
        ],
    ),
    case(
        13,
        "files by handle",
        &[probe(
            "by-handle",
            "name_to_handle_at, open_by_handle_at",
            Without(&["seccomp", "capabilities"]),
            devices::by_handle,
        )],
    ),
    case(
        14,
        "descriptors that came along",
        &[probe(
            "descriptors",
            "use one that the supervisor was started with",
            Without(&["descriptors"]),
            devices::leaked,
        )],
    ),
    case(
        15,
        "overwriting the program that keeps sandboxes",
        &[
            probe("keeper-exe", "open /proc/1/exe", OF_THE_KEEPER, processes::program_of_the_keeper),
            probe(
                "executor-exe",
                "open /proc/<executor>/exe",
                FILES_OF_THE_EXECUTOR,
                processes::program_of_the_executor,
            ),
        ],
    ),
    proved_by(
        case(
            16,
            "racing what hides files of /proc",
            &[probe("masks", "find a mask that isn't the null device", Without(&["masks"]), kernel::masks)],
        ),
        &["crates/sandbox/tests/it/escape.rs::a_root_that_leads_elsewhere_is_refused"],
    ),
    proved_by(
        case(17, "hostile names, links and devices in workspaces and archives", &[]),
        &[
            "crates/sandbox/tests/it/files.rs::a_live_sandbox_can_be_saved_whatever_it_does_meanwhile",
            "crates/tools/tests/it/files.rs::swaps_of_directories_and_links_lead_nothing_astray",
            "crates/server/tests/it/workspace.rs::archives_that_play_tricks_are_refused_whole",
            "crates/server/tests/it/workspace.rs::strange_names_and_hostile_trees_hold_nothing_up",
        ],
    ),
    case(
        18,
        "set-user-id programs",
        &[with_one_id(
            probe(
                "setuid",
                "run a program of the sandbox's root with the bit",
                Without(&["mount_flags", "new_privileges", "seccomp", "landlock", "scope", "landlock"]),
                devices::planted_setuid,
            ),
            NoControl("there is no user but the tools' that a program could become"),
        )],
    ),
    case(
        19,
        "tracing and reading the processes that keep the sandbox",
        &[
            probe(
                "trace-keeper",
                "ptrace process 1",
                Without(&["seccomp", "capabilities", "hidden", "landlock", "scope"]),
                processes::trace_the_keeper,
            ),
            probe(
                "trace-executor",
                "ptrace the executor",
                Without(&["seccomp", "hidden"]),
                processes::trace_the_executor,
            ),
            probe(
                "read-executor",
                "process_vm_readv of the executor",
                Without(&["seccomp", "hidden"]),
                processes::read_the_executor,
            ),
            probe("keeper-memory", "open /proc/1/mem", OF_THE_KEEPER, processes::memory_of_the_keeper),
            probe(
                "executor-memory",
                "open /proc/<executor>/mem",
                FILES_OF_THE_EXECUTOR,
                processes::memory_of_the_executor,
            ),
            probe(
                "executor-descriptors",
                "list /proc/<executor>/fd",
                OF_THE_EXECUTOR,
                processes::descriptors_of_the_executor,
            ),
        ],
    ),
    proved_by(
        case(
            20,
            "signals",
            &[
                with_one_id(
                    probe(
                        "signal-keeper",
                        "signal process 1",
                        Without(&["capabilities", "scope"]),
                        processes::signal_the_keeper,
                    ),
                    Without(&["seccomp", "scope"]),
                ),
                with_one_id(
                    probe(
                        "signal-keeper-wide",
                        "signal process 1 by a number whose lower half is 1",
                        Without(&["capabilities", "scope"]),
                        processes::signal_the_keeper_by_a_wide_number,
                    ),
                    Without(&["seccomp", "scope"]),
                ),
                with_one_id(
                    probe(
                        "signal-keeper-file",
                        "signal process 1 by way of /proc/1",
                        Without(&["capabilities", "scope"]),
                        processes::signal_the_keeper_by_its_directory,
                    ),
                    Without(&["seccomp", "scope"]),
                ),
                probe(
                    "signal-host",
                    "signal a process of the host by its id",
                    Without(&["pids", "scope"]),
                    processes::signal_a_process_of_the_host,
                ),
            ],
        ),
        &["crates/sandbox/tests/it/escape.rs::the_keeper_survives_what_tools_do_to_it"],
    ),
    case(
        21,
        "the kernel's privileged interfaces",
        &[
            probe("io-uring", "io_uring_setup", CALLS, kernel::io_uring),
            probe("bpf", "bpf", CALLS, kernel::bpf),
            probe("userfaultfd", "userfaultfd", CALLS, kernel::userfaultfd),
            probe("perf", "perf_event_open", CALLS, kernel::perf),
            probe("keyctl", "keyctl", CALLS, kernel::keyctl),
            probe("add-key", "add_key", CALLS, kernel::add_key),
            probe("host-key", "find a key of who started it all", Without(&["seccomp", "keyring"]), kernel::host_key),
            probe(
                "kexec",
                "kexec_load",
                NoControl("the kernel asks for a right over the whole machine"),
                kernel::kexec,
            ),
            probe(
                "module",
                "init_module",
                NoControl("the kernel asks for a right over the whole machine"),
                kernel::load_module,
            ),
        ],
    ),
    case(
        22,
        "other doors to the kernel",
        &[
            probe("x32", "a call of the x32 kind", CALLS, foreign::x32),
            probe("int80", "a call of a 32-bit program", CALLS, foreign::int_80),
        ],
    ),
    case(
        23,
        "sockets that no namespace confines, or few have looked at",
        &[
            probe("vsock", "AF_VSOCK", CALLS, kernel::vsock),
            probe("alg", "AF_ALG", CALLS, kernel::alg),
            probe("netlink-xfrm", "NETLINK_XFRM", CALLS, kernel::xfrm),
            probe("netlink-uevent", "NETLINK_KOBJECT_UEVENT", CALLS, kernel::uevents),
            probe("packet", "AF_PACKET", Without(&["seccomp", "capabilities"]), kernel::packet),
            probe("xdp", "AF_XDP", Without(&["seccomp", "capabilities"]), kernel::xdp),
            probe("raw", "raw IP", Without(&["seccomp", "capabilities"]), kernel::raw),
            probe("rare-protocol", "SCTP, or MPTCP", CALLS, kernel::rare_protocol),
            probe("pair", "a pair of AF_TIPC", CALLS, kernel::pair),
        ],
    ),
    proved_by(
        case(
            24,
            "sockets and memory of the host that have no path",
            &[
                probe(
                    "abstract",
                    "connect to a socket with an abstract name",
                    Without(&["network", "scope"]),
                    network::abstract_socket,
                ),
                probe("shared-memory", "attach a segment by its key", Without(&["ipc"]), processes::shared_memory),
            ],
        ),
        &["crates/sandbox/tests/it/escape.rs::abstract_sockets_of_the_host_are_out_of_reach"],
    ),
    case(
        25,
        "sockets of the host's services",
        &[
            probe("path-socket", "connect to a socket by its path", Without(&["old_root"]), network::path_socket),
            probe(
                "services",
                "Docker, containerd, Podman, D-Bus, systemd",
                NoControl("what the host has of them isn't the suite's to try; the line above is the same way"),
                network::services,
            ),
        ],
    ),
    with_egress(
        case(
            26,
            "a way out by network",
            &[
                probe("tcp", "TCP to an address", NETWORK, network::tcp),
                probe("tcp-host", "TCP to the host's loopback device", NETWORK, network::tcp_of_the_host),
                probe("udp", "UDP to an address", NETWORK, network::udp),
                probe("ping", "an ICMP echo", NETWORK, network::ping),
            ],
        ),
        "the same where some names are allowed",
    ),
    with_egress(
        case(
            27,
            "addresses at which clouds tell a machine's secrets",
            &[
                probe("metadata", "IPv4, in every spelling", NETWORK, network::metadata),
                probe("metadata-6", "IPv6", NETWORK, network::metadata_6),
            ],
        ),
        "the same through a proxy",
    ),
    with_egress(
        case(28, "names", &[probe("dns", "ask name servers", NETWORK, network::dns)]),
        "tunnels through names, and names that change their address",
    ),
    with_egress(case(29, "names that don't agree", &[]), "SNI, Host and CONNECT; smuggling; redirects"),
    with_egress(case(30, "names that look alike", &[]), "wildcards, trailing dots, IDN, userinfo"),
    with_egress(case(31, "allowed names of private addresses", &[]), "all of it"),
    proved_by(
        with_egress(
            case(
                32,
                "other sandboxes",
                &[probe("other-port", "connect to another's loopback port", NETWORK, network::port_of_another_sandbox)],
            ),
            "another session's proxy",
        ),
        &["crates/sandbox/tests/it/escape.rs::one_session_sees_nothing_of_another"],
    ),
    with_egress(
        case(
            33,
            "secrets",
            &[probe(
                "environment",
                "read /proc/<executor>/environ",
                OF_THE_EXECUTOR,
                processes::environment_of_the_executor,
            )],
        ),
        "echoes of secrets, placeholders sent elsewhere",
    ),
    with_egress(case(34, "the key of the proxy's certificates", &[]), "all of it"),
    proved_by(
        case(35, "bombs", &[]),
        &[
            "crates/sandbox/tests/it/bombs.rs::processes",
            "crates/sandbox/tests/it/bombs.rs::memory",
            "crates/sandbox/tests/it/bombs.rs::the_disk",
            "crates/sandbox/tests/it/bombs.rs::descriptors",
            "crates/sandbox/tests/it/bombs.rs::output",
        ],
    ),
    case(
        36,
        "terminals of others",
        &[
            probe("tiocsti", "type into a terminal", CALLS, devices::type_into_a_terminal),
            probe(
                "tiocsti-wide",
                "the same by a request whose lower half is it",
                CALLS,
                devices::type_into_a_terminal_by_a_wide_request,
            ),
            probe(
                "tty",
                "open the controlling terminal",
                NoControl("the processes that keep sandboxes have none that could be inherited"),
                devices::terminal_of_others,
            ),
        ],
    ),
    // Tried by the suite itself, since nothing inside is left to do it.
    case(
        37,
        "outliving the sandbox",
        &[probe("outlive", "a daemon in a session of its own", Without(&["pids"]), |_| {
            Outcome::Broken("the suite tries this itself".to_owned())
        })],
    ),
    proved_by(
        case(38, "what output could do to who reads it", &[]),
        &["crates/sandbox/tests/it/shell.rs::commands_of_every_shape_end_with_their_status"],
    ),
    case(
        39,
        "limits: raising its own, setting others'",
        &[
            with_one_id(
                probe(
                    "limit-keeper",
                    "set a limit of process 1",
                    Without(&["capabilities"]),
                    processes::limit_the_keeper,
                ),
                CALLS,
            ),
            with_one_id(
                rootless(
                    probe(
                        "keeper-oom",
                        "have process 1 killed first where memory is short",
                        Without(&["capabilities", "hidden", "landlock"]),
                        processes::offer_the_keeper,
                    ),
                    // What hides itself belongs to the sandbox's root there, whom tools lack the rights to become.
                    Without(&["capabilities", "landlock"]),
                ),
                Without(&["hidden", "landlock"]),
            ),
            probe(
                "slow-keeper",
                "lower the priority of process 1 and of all of its user",
                Without(&["capabilities"]),
                processes::slow_the_keeper,
            ),
            probe(
                "raise-files",
                "raise the limit of open files",
                NoControl("the kernel asks for a right over the whole machine"),
                processes::raise_files,
            ),
            probe(
                "raise-cores",
                "raise the limit of core dumps",
                NoControl("the kernel asks for a right over the whole machine"),
                processes::raise_cores,
            ),
        ],
    ),
    case(
        40,
        "the kernel's log and configuration",
        &[
            probe("dmesg", "syslog", CALLS, kernel::dmesg),
            probe("config", "read /proc/config.gz", Without(&["masks"]), kernel::config),
        ],
    ),
    proved_by(
        case(41, "what a sandbox leaves when its first process is killed", &[]),
        &["crates/sandbox/tests/it/crash.rs::a_killed_supervisor_takes_its_sandboxes_along_and_the_next_one_sweeps"],
    ),
];
