//! Sockets of the host, other sandboxes' ports, and the way out.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use crate::calls::{call, judge, word};
use crate::case::{Input, Outcome};

/// How long an answer from the same machine may take before there is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Addresses that the suite gives to its own network, as stand-ins for the world: one for documentation, and those at which
/// clouds tell a machine its secrets.
const OUTSIDE: &str = "192.0.2.1";
const METADATA: &[&str] = &[
    "169.254.169.254",
    "2852039166",
    "0251.0376.0251.0376",
    "0xa9.0xfe.0xa9.0xfe",
    "::ffff:169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
];
const METADATA_6: &str = "fd00:ec2::254";

pub(crate) fn abstract_socket(input: &Input) -> Outcome {
    match UnixAddr::from_abstract_name(&input.abstract_socket) {
        Ok(address) => greeted(UnixStream::connect_addr(&address), input),
        Err(error) => judge("", Err::<(), _>(error)),
    }
}

pub(crate) fn path_socket(input: &Input) -> Outcome {
    let above = format!("/..{}", input.socket_path);
    greeted(UnixStream::connect(&input.socket_path).or_else(|_| UnixStream::connect(above)), input)
}

/// The sockets by which programs are told what to do, where hosts have them.
pub(crate) fn services(_: &Input) -> Outcome {
    let names = [
        "run/docker.sock",
        "run/containerd/containerd.sock",
        "run/podman/podman.sock",
        "run/crio/crio.sock",
        "run/dbus/system_bus_socket",
        "run/systemd/private",
        "run/user/0/bus",
        "run/snapd.socket",
    ];
    for path in names.iter().flat_map(|name| [format!("/{name}"), format!("/var/{name}")]) {
        if UnixStream::connect(&path).is_ok() {
            return Outcome::Reached(format!("{path} answers"));
        }
    }
    Outcome::Blocked("none is there".to_owned())
}

pub(crate) fn tcp(input: &Input) -> Outcome {
    connect(OUTSIDE, input.port, input)
}

pub(crate) fn tcp_of_the_host(input: &Input) -> Outcome {
    connect("127.0.0.1", input.port, input)
}

pub(crate) fn port_of_another_sandbox(input: &Input) -> Outcome {
    connect("127.0.0.1", input.other_port, input)
}

pub(crate) fn metadata(input: &Input) -> Outcome {
    first_reached(METADATA.iter().map(|name| connect(name, input.port, input)))
}

pub(crate) fn metadata_6(input: &Input) -> Outcome {
    connect(METADATA_6, input.port, input)
}

pub(crate) fn udp(input: &Input) -> Outcome {
    ask(SocketAddr::from(([192, 0, 2, 1], input.port)), input)
}

pub(crate) fn dns(input: &Input) -> Outcome {
    let servers = [[192, 0, 2, 1], [127, 0, 0, 53], [127, 0, 0, 1]];
    first_reached(servers.into_iter().map(|server| ask(SocketAddr::from((server, 53)), input)))
}

fn first_reached(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut last = Outcome::Broken("nothing was tried".to_owned());
    for outcome in outcomes {
        if !matches!(outcome, Outcome::Blocked(_)) {
            return outcome;
        }
        last = outcome;
    }
    last
}

/// An echo without a raw socket, which the kernel offers to groups that its settings name.
pub(crate) fn ping(_: &Input) -> Outcome {
    let sent = call(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_DGRAM as usize, libc::IPPROTO_ICMP as usize])
        .and_then(|socket| {
            // SAFETY: an all-zero address is valid.
            let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            address.sin_family = libc::AF_INET as u16;
            address.sin_addr.s_addr = u32::from_ne_bytes([192, 0, 2, 1]);
            let echo = [8u8, 0, 0, 0, 0, 0, 0, 1];
            call(
                libc::SYS_sendto,
                [socket, echo.as_ptr() as usize, echo.len(), 0, (&raw const address) as usize, size_of_val(&address)],
            )
        });
    judge("an echo is asked for", sent)
}

fn connect(name: &str, port: u16, input: &Input) -> Outcome {
    let addresses = match (name, port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Outcome::Blocked(format!("{name}: {error}")),
    };
    first_reached(addresses.map(|address| greeted(TcpStream::connect_timeout(&address, PATIENCE), input)))
}

/// Who is there says the nonce at once.
fn greeted(stream: io::Result<impl Read>, input: &Input) -> Outcome {
    let mut said = vec![0; input.nonce.len()];
    match stream.and_then(|mut stream| stream.read_exact(&mut said)) {
        Ok(()) if said == input.nonce.as_bytes() => Outcome::Reached("it answers".to_owned()),
        Ok(()) => Outcome::Broken("somebody else answers".to_owned()),
        Err(error) => or_timed_out(&error),
    }
}

fn ask(address: SocketAddr, input: &Input) -> Outcome {
    let mut said = [0; 512];
    let answer = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(address)?;
        socket.send(b"?")?;
        socket.recv(&mut said)
    });
    match answer {
        Ok(length) if said[..length] == *input.nonce.as_bytes() => Outcome::Reached("it answers".to_owned()),
        Ok(_) => Outcome::Broken("somebody else answers".to_owned()),
        Err(error) => or_timed_out(&error),
    }
}

fn or_timed_out(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Outcome::Blocked("no answer".to_owned()),
        _ if error.raw_os_error().is_some() => {
            match judge("", Err::<(), _>(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0)))) {
                Outcome::NotApplicable(_) => Outcome::Blocked(word(error)),
                outcome => outcome,
            }
        }
        _ => Outcome::Broken(error.to_string()),
    }
}

/// The other side of [`port_of_another_sandbox`]: listens until it is ended, saying the nonce to who comes.
pub(crate) fn listen(port: &str) -> serde_json::Result<String> {
    use std::io::Write;
    let (port, nonce) = port.split_once(':').unwrap_or((port, ""));
    let listening = port.parse().map_err(io::Error::other).and_then(|port: u16| TcpListener::bind(("127.0.0.1", port)));
    match listening {
        Ok(listener) => {
            let _ = writeln!(io::stdout(), "listening");
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(nonce.as_bytes());
            }
            Ok("ended".to_owned())
        }
        Err(error) => Ok(error.to_string()),
    }
}
