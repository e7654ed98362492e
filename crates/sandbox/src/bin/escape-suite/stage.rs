//! The host that attempts to get out are made from: namespaces of the suite's own, with objects made for the purpose, so
//! that even an attempt that succeeds meets nothing else.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::case::{Given, Input, Whose, whose};

/// The uid of tools in the first sandbox of a supervisor, on the host.
const FIRST_AGENT: u32 = 0x7000_0000 + 1000;
/// The owner of files of root's sandboxes on disk.
const CANONICAL_BASE: u32 = 100_000;
/// The port on which everything answers, and that of the other sandbox.
const PORTS: (u16, u16) = (80, 4480);
/// What stands for the world: see the program that tries.
const ADDRESSES: [[u8; 4]; 4] = [[192, 0, 2, 1], [169, 254, 169, 254], [100, 100, 100, 200], [168, 63, 129, 16]];
const ADDRESS_6: [u8; 16] = [0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54];

/// The objects of the stage.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) input: Input,
    /// Where sandboxes keep their files. It goes with the stage.
    pub(crate) dir: tempfile::TempDir,
    _disk: Option<OwnedFd>,
    planter: Option<Planter>,
}

/// Who plants where only root may: a process that is still root when the others aren't.
#[derive(Debug)]
struct Planter {
    ask: File,
    answer: File,
}

/// Runs this as a process in namespaces of its own, and gives what it ended with.
pub(crate) fn on_a_stage_of_our_own(play: impl FnOnce() -> u8) -> io::Result<ExitCode> {
    let mut namespaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let ordinary = matches!(whose(), Whose::One)
        .then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    if ordinary.is_some() {
        namespaces |= libc::CLONE_NEWUSER;
    }
    // SAFETY: this process has one thread.
    check(unsafe { libc::unshare(namespaces) })?;
    // An ordinary user stays who it is. The rights over these namespaces go with the first program that is executed.
    if let Some((uid, gid)) = ordinary {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    // SAFETY: each argument is a number or a string that is there.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let null = std::ptr::null();
        check(libc::mount(null, c"/".as_ptr(), null, private, null.cast()))?;
        // There supervisors claim users for their sandboxes. Whatever others have claimed, the first sandbox here has the first.
        if ordinary.is_none() {
            let tmpfs = c"tmpfs".as_ptr();
            check(libc::mount(tmpfs, c"/run".as_ptr(), tmpfs, 0, null.cast()))?;
        }
    }
    let first = in_a_copy(|| {
        let proc = c"proc".as_ptr();
        // SAFETY: as above; this process has one thread.
        let mounted = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::mount(proc, c"/proc".as_ptr(), proc, 0, std::ptr::null())
        };
        if mounted != 0 {
            return 1;
        }
        // The first process of the namespace only waits; with it, all others end.
        in_a_copy(play).and_then(wait_for).unwrap_or(1)
    })?;
    Ok(ExitCode::from(wait_for(first)?))
}

fn in_a_copy(life: impl FnOnce() -> u8) -> io::Result<i32> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => std::process::exit(i32::from(life())),
        pid => Ok(pid),
    }
}

/// Waits for one process, and meanwhile for whatever else ends.
fn wait_for(pid: i32) -> io::Result<u8> {
    let mut status = 0;
    loop {
        // SAFETY: the status is a place to write to.
        let ended = unsafe { libc::wait(&raw mut status) };
        if ended < 0 {
            return Err(io::Error::last_os_error());
        }
        if ended == pid {
            return Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) as u8 } else { 1 });
        }
    }
}

impl Stage {
    /// Makes every object. To be called once, by a process with one thread.
    pub(crate) fn set() -> Result<Self> {
        let nonce = nonce()?;
        let dir = tempfile::tempdir()?;
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let host = dir.path().join("host");
        std::fs::create_dir(&host)?;
        let host_file = host.join("file");
        std::fs::write(&host_file, &nonce)?;
        if matches!(whose(), Whose::One) {
            // One that tools could read only as the user they are.
            std::fs::set_permissions(&host_file, PermissionsExt::from_mode(0o600))?;
        }
        leak(&host)?;
        keep_key(&nonce).context("keeping a key")?;
        let process = stand_by()?;
        let shared_memory = share(&nonce)?;
        let disk = disk(&host, &nonce).inspect_err(|error| eprintln!("no loop device: {error}")).ok();
        let device = disk.as_ref().map(|(_, number)| *number);
        let planter = match whose() {
            Whose::Root | Whose::One => None,
            Whose::Given(given) => Some(Planter::start(given, device)?),
        };
        give_addresses().context("giving the loopback device its addresses")?;
        let socket_path = host.join("socket");
        let abstract_socket = format!("tenure-escape-{nonce}");
        answer(&nonce, &socket_path, &abstract_socket)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let input = Input {
            host_file: text(&host_file),
            socket_path: text(&socket_path),
            abstract_socket,
            process,
            shared_memory,
            device,
            planted: "/planted".to_owned(),
            port: PORTS.0,
            other_port: PORTS.1,
            nonce,
        };
        if let Whose::Given(given) = whose() {
            std::os::unix::fs::chown(dir.path(), Some(given.user), Some(given.user))?;
            given.become_it()?;
        }
        Ok(Self { input, dir, _disk: disk.map(|(disk, _)| disk), planter })
    }

    /// Puts what is to be planted into the root of a session's layer.
    pub(crate) fn plant(&self, layer: &Path) -> Result<()> {
        match (&self.planter, whose()) {
            (Some(planter), _) => planter.plant(layer),
            (None, Whose::Root) => plant(layer, Some(CANONICAL_BASE), self.input.device),
            // What an ordinary user makes is its own, and so right.
            (None, Whose::One | Whose::Given(_)) => plant(layer, None, self.input.device),
        }
    }
}

/// A node of the disk and a set-user-id copy of the program that tries.
fn plant(layer: &Path, owner: Option<u32>, device: Option<(u32, u32)>) -> Result<()> {
    let root = layer.join("root");
    let at = root.join("planted");
    std::fs::create_dir_all(&at)?;
    let setuid = at.join("setuid");
    std::fs::copy(crate::case::attacker()?, &setuid)?;
    std::os::unix::fs::chown(&setuid, owner, owner)?;
    std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755))?;
    if let Some(device) = device {
        make_node(&at.join("disk"), device)?;
    }
    for owned in [at.as_path(), &root, layer] {
        std::os::unix::fs::chown(owned, owner, owner)?;
    }
    Ok(())
}

impl Planter {
    fn start(given: Given, device: Option<(u32, u32)>) -> Result<Self> {
        let (asked, ask) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (answer, say) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let ask = File::from(ask);
        in_a_copy(|| {
            // SAFETY: takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let mut say = File::from(say);
            for layer in BufReader::new(File::from(asked)).lines().map_while(Result::ok) {
                let layer = Path::new(&layer);
                let planted = plant(layer, Some(given.first), device);
                // The session's directory is that user's own.
                let session = layer.parent().unwrap_or(layer);
                let given_away =
                    planted.and_then(|()| Ok(std::os::unix::fs::chown(session, Some(given.user), Some(given.user))?));
                let said = given_away.map_or_else(|error| format!("{error:#}\n"), |()| "ok\n".to_owned());
                if say.write_all(said.as_bytes()).is_err() {
                    break;
                }
            }
            0
        })?;
        Ok(Self { ask, answer: File::from(answer) })
    }

    fn plant(&self, layer: &Path) -> Result<()> {
        writeln!(&self.ask, "{}", layer.display())?;
        let mut said = String::new();
        BufReader::new(&self.answer).read_line(&mut said)?;
        match said.trim_end() {
            "ok" => Ok(()),
            why => anyhow::bail!("nothing could be planted: {why}"),
        }
    }
}

impl Given {
    /// All of this process becomes that user, for good.
    fn become_it(self) -> io::Result<()> {
        // SAFETY: takes numbers only, and an empty list. These act on all threads.
        unsafe {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(self.user, self.user, self.user))?;
            check(libc::setresuid(self.user, self.user, self.user))
        }
    }
}

fn nonce() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A directory that every process started from now on has open, unless somebody closes it.
fn leak(dir: &Path) -> Result<()> {
    let open = File::open(dir)?;
    // SAFETY: the number is nobody's, and stays open for as long as this process lives.
    check(unsafe { libc::dup2(open.as_raw_fd(), 77) }).context("leaving a descriptor open")?;
    Ok(())
}

/// A key by this name, in a session of keys that is this process's own and goes with it.
fn keep_key(name: &str) -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    const SESSION: libc::c_int = -3;
    let name = CString::new(name)?;
    // SAFETY: every pointer is to a string, and the length is of one of them.
    unsafe {
        let null = std::ptr::null::<libc::c_char>();
        check(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, null) as libc::c_int)?;
        let kind = c"user".as_ptr();
        let added = libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), name.as_ptr(), name.count_bytes(), SESSION);
        check(if added < 0 { -1 } else { 0 })?;
    }
    Ok(())
}

/// A process of the user that tools of the first sandbox are on the host: it could be signalled by them.
fn stand_by() -> Result<i32> {
    Ok(in_a_copy(|| {
        // SAFETY: each takes numbers only.
        unsafe {
            let agent = match whose() {
                Whose::Root => Some(FIRST_AGENT),
                // An ordinary user's tools are that user to the host, or of the ids that it was given.
                Whose::One => None,
                Whose::Given(given) => Some(given.first + 1000),
            };
            if let Some(agent) = agent {
                libc::setgid(agent);
                libc::setuid(agent);
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
    })?)
}

fn share(nonce: &str) -> Result<i32> {
    let key = i32::from_str_radix(&nonce[..7], 16)?;
    // SAFETY: the segment is attached where the kernel wants, and is longer than the nonce.
    unsafe {
        let id = libc::shmget(key, 4096, libc::IPC_CREAT | 0o666);
        check(id)?;
        let at = libc::shmat(id, std::ptr::null(), 0);
        check(if at.addr() == usize::MAX { -1 } else { 0 })?;
        std::ptr::copy_nonoverlapping(nonce.as_ptr(), at.cast(), nonce.len());
    }
    Ok(key)
}

/// A disk of our own: a file behind a loop device, which goes when it is closed.
fn disk(dir: &Path, nonce: &str) -> Result<(OwnedFd, (u32, u32))> {
    const GET_FREE: libc::c_ulong = 0x4c82;
    const SET_FD: libc::c_ulong = 0x4c00;
    const SET_STATUS: libc::c_ulong = 0x4c04;
    const AUTOCLEAR: u32 = 4;
    const MAJOR: u32 = 7;
    let image = dir.join("image");
    let mut bytes = nonce.as_bytes().to_vec();
    bytes.resize(1 << 20, 0);
    std::fs::write(&image, bytes)?;
    let image = File::options().read(true).write(true).open(image)?;
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    // SAFETY: takes nothing.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
    check(number)?;
    let node = dir.join("loop");
    make_node(&node, (MAJOR, number as u32))?;
    let disk = File::options().read(true).write(true).open(node)?;
    // `struct loop_info64`: its flags are the last of the numbers after five of 64 bits.
    let mut status = [0u8; 232];
    status[52..56].copy_from_slice(&AUTOCLEAR.to_ne_bytes());
    // SAFETY: the first takes a descriptor, the second a structure of that size.
    unsafe {
        check(libc::ioctl(disk.as_raw_fd(), SET_FD, image.as_raw_fd()))?;
        check(libc::ioctl(disk.as_raw_fd(), SET_STATUS, status.as_ptr()))?;
    }
    Ok((disk.into(), (MAJOR, number as u32)))
}

fn make_node(at: &Path, (major, minor): (u32, u32)) -> Result<()> {
    let path = CString::new(at.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path is a C string.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o666, libc::makedev(major, minor)) })?;
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o666))?;
    Ok(())
}

/// The loopback device of this network namespace stands for the whole internet.
fn give_addresses() -> io::Result<()> {
    let socket =
        UdpSocket::from(rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?);
    // SAFETY: every structure is zeroed first, which is valid, and of the kind that its request takes.
    unsafe {
        for (n, address) in ADDRESSES.iter().enumerate() {
            let mut request: libc::ifreq = std::mem::zeroed();
            name(&mut request, &format!("lo:{n}"));
            let mut inet: libc::sockaddr_in = std::mem::zeroed();
            inet.sin_family = libc::AF_INET as u16;
            inet.sin_addr.s_addr = u32::from_ne_bytes(*address);
            request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet);
            check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &raw const request))?;
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        name(&mut request, "lo");
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))?;
        let socket = libc::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0);
        check(socket)?;
        let request = (ADDRESS_6, 128u32, libc::if_nametoindex(c"lo".as_ptr()));
        let result = libc::ioctl(socket, libc::SIOCSIFADDR, &raw const request);
        libc::close(socket);
        check(result)?;
    }
    // Who may send echoes: a setting of the network namespace, and so of ours.
    let groups = match whose() {
        Whose::Root | Whose::Given(_) => "0 2147483647".to_owned(),
        Whose::One => format!("{0} {0}", rustix::process::getegid().as_raw()),
    };
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups)
}

fn name(request: &mut libc::ifreq, name: &str) {
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
}

/// Threads that say the nonce to whoever comes, on each of the ways to this host.
fn answer(nonce: &str, socket_path: &Path, abstract_socket: &str) -> Result<()> {
    for address in ["[::]", "0.0.0.0"] {
        let listener = TcpListener::bind(format!("{address}:{}", PORTS.0));
        // The first takes both where the kernel does so.
        let Ok(listener) = listener else { continue };
        let nonce = nonce.to_owned();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(nonce.as_bytes())));
        });
    }
    let path: PathBuf = socket_path.to_owned();
    let listeners =
        [UnixListener::bind(&path)?, UnixListener::bind_addr(&SocketAddr::from_abstract_name(abstract_socket)?)?];
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
    for listener in listeners {
        let nonce = nonce.to_owned();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(nonce.as_bytes())));
        });
    }
    for port in [PORTS.0, 53] {
        let socket = UdpSocket::bind(("0.0.0.0", port))?;
        let nonce = nonce.to_owned();
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(nonce.as_bytes(), from);
            }
        });
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
