//! The keeper as a process. These tests' keepers are this test program, executed under the
//! keeper's name; each test runs in a process and a network namespace of its own.

use super::*;
use crate::addr::{Addr, Endpoint};
use crate::config::Config;
use crate::runtime::{Runtime, Wait};
use crate::stack::{Family, Owner, Ready, SockId};
use crate::sys::unix::Kind;
use crate::sys::{self, Errno, Fd, bell, io, process, unix};
use crate::tcp::Sysctl;
use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering;
use std::time::{Duration, Instant};

mod trouble;
mod world;
use world::{Child, World, eventually};

/// Before anything else of this test program: when its name says so, it is a keeper.
#[used]
#[unsafe(link_section = ".init_array")]
static BE_A_KEEPER: extern "C" fn(i32, *const *const c_char, *const *const c_char) = {
    extern "C" fn be(argc: i32, argv: *const *const c_char, envp: *const *const c_char) {
        let strings = |from: *const *const c_char, most: usize| -> Vec<&'static [u8]> {
            (0..most)
                // SAFETY: the arrays of a process's start end in a null pointer.
                .map_while(|i| unsafe {
                    let text = *from.add(i);
                    (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
                })
                .collect()
        };
        let args = strings(argv, argc as usize);
        if args.first() == Some(&spawn::ARG0.to_bytes()) {
            trouble::may_die_at_once(args.get(1).copied());
            main(&args, &strings(envp, usize::MAX));
        }
    }
    be
};

fn config() -> Config {
    Config::default()
}

/// A process's way into the stack, and what it must keep.
struct Member {
    runtime: Runtime,
    conn: Connection,
}

fn join() -> Member {
    let Attachment { arena, tun, conn } = attach(&config()).unwrap();
    let runtime = Runtime::over(arena, tun).unwrap();
    Member { runtime, conn }
}

impl Member {
    fn keeper(&self) -> u32 {
        self.runtime.open().keeper_pid.load(Ordering::Relaxed)
    }

    fn mode(&self) -> u32 {
        self.runtime.open().keeper_mode.load(Ordering::SeqCst)
    }

    /// A socket with its descriptor, as the shim makes them.
    fn socket(&self) -> (SockId, Fd) {
        let owner = Owner {
            pid: process::pid(),
            uid: process::euid(),
            inode: 0,
        };
        let sysctl = Sysctl {
            time_wait: 1,
            ..Sysctl::default()
        };
        let id = self
            .runtime
            .enter()
            .create(Family::V4, owner, &sysctl)
            .unwrap();
        (id, self.descriptor(id))
    }

    fn descriptor(&self, id: SockId) -> Fd {
        let near = unix::socket(Kind::Stream, true).unwrap();
        let name = self.runtime.socket_name(id.number());
        unix::bind(near.raw(), &name).unwrap();
        let inode = io::identity(near.raw()).unwrap().1;
        self.runtime.enter().sh.sockets[id.index].owner.inode = inode;
        near
    }

    /// Make the descriptor show a TCP socket's readiness.
    fn pair(&self, id: SockId, near: &Fd) {
        let far = mirror::pair(near.raw()).unwrap();
        self.conn.send_far(id, &far).unwrap();
        self.runtime.enter().has_far(id, Ready::OUT).unwrap();
    }

    fn listen(&self, port: u16) -> (SockId, Fd) {
        let (id, near) = self.socket();
        let to = Endpoint::new(Addr::ANY4, port);
        self.runtime.enter().bind(id, to, true).unwrap();
        self.runtime.enter().listen(id, 5).unwrap();
        self.pair(id, &near);
        mirror::lower_out(near.raw());
        self.runtime.enter().lowered(id, Ready::OUT);
        self.runtime.enter().watch(id).unwrap();
        (id, near)
    }

    fn connect(&self, port: u16) -> (SockId, Fd) {
        let (id, near) = self.socket();
        let to = Endpoint::new(Addr::v4([127, 0, 0, 1].into()), port);
        let _ = self.runtime.enter().connect(id, to);
        self.runtime.enter().connect_result(id).unwrap();
        self.pair(id, &near);
        (id, near)
    }

    fn accept(&self, listener: SockId) -> (SockId, Fd) {
        let owner = Owner {
            pid: process::pid(),
            uid: process::euid(),
            inode: 0,
        };
        let (id, _) = self.runtime.enter().accept(listener, owner).unwrap();
        let near = self.descriptor(id);
        self.pair(id, &near);
        (id, near)
    }

    fn sockets(&self) -> u32 {
        self.runtime.enter().sh.sockets.in_use()
    }

    /// Wait for an event that never comes.
    fn block_for_ever(&self, id: SockId) -> ! {
        let wait = Wait {
            sockets: &[id],
            ..Wait::default()
        };
        self.runtime.block(wait, |_, _| None::<()>);
        unreachable!()
    }
}

#[test]
fn a_keeper_comes_and_goes() {
    World::run(|world| {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        // SAFETY: an open descriptor; it would be inherited now.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETFD, 0) };
        let member = join();
        let pid = member.keeper();
        let proc = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap();
        assert_eq!(proc("comm"), b"utcp-keeper\n");
        assert_eq!(proc("cmdline"), b"utcp-keeper\0default\0");
        let environment = String::from_utf8(proc("environ")).unwrap();
        assert!(
            environment
                .split('\0')
                .all(|v| v.is_empty() || v.starts_with("UTCP_")),
            "{environment}"
        );
        let stat = String::from_utf8(proc("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        assert_ne!(
            fields[1],
            process::pid().to_string(),
            "its parent is not us"
        );
        assert_eq!(fields[3], pid.to_string(), "a session of its own");
        assert_eq!(
            std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
            std::path::Path::new("/")
        );
        let status = String::from_utf8(proc("status")).unwrap();
        for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000001000"] {
            assert!(status.contains(line), "{line} in\n{status}");
        }
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let entry = entry.unwrap();
            let target = std::fs::read_link(entry.path()).unwrap();
            let target = target.to_string_lossy().into_owned();
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            if number <= 2 {
                assert_eq!(target, "/dev/null");
            } else {
                assert!(!target.starts_with("/proc"), "the program's {target}");
            }
        }
        assert!(world.device_exists("utcp0"));
        assert_eq!(world.keepers(), [pid]);
        assert!(member.conn.is_alive());
        drop(member);
        eventually("the keeper leaves", || world.keepers().is_empty());
        assert!(!world.device_exists("utcp0"));
        assert!(!world.names().contains("@utcp/"), "{}", world.names());
        // And again, at once.
        let member = join();
        assert_ne!(member.keeper(), pid);
        assert!(world.device_exists("utcp0"));
    });
}

#[test]
fn looking_for_a_stack_starts_none() {
    World::run(|world| {
        assert!(attach_running(&config()).unwrap().is_none());
        assert!(world.keepers().is_empty());
        let member = join();
        let seen = attach_running(&config()).unwrap().unwrap();
        let nonce = seen.arena.lock().nonce;
        assert_eq!(nonce, member.runtime.nonce());
    });
}

#[test]
fn one_after_another_at_once() {
    World::run(|world| {
        for _ in 0..30 {
            drop(join());
        }
        let member = join();
        assert!(world.device_exists("utcp0"), "not utcp1");
        assert_eq!(world.keepers(), [member.keeper()]);
    });
}

#[test]
fn fifty_first_processes() {
    World::run(|world| {
        let (go, start) = io::pipe().unwrap();
        let (leave, end) = io::pipe().unwrap();
        let (read, write) = io::pipe().unwrap();
        let children: Vec<Child> = (0..50)
            .map(|_| {
                Child::fork(|| {
                    let mut byte = [0];
                    assert_eq!(io::read(go.raw(), &mut byte), Ok(1));
                    let member = join();
                    let line = format!("{:16x}{:8}", member.runtime.nonce(), member.keeper());
                    assert_eq!(io::write(write.raw(), line.as_bytes()), Ok(24));
                    assert_eq!(io::read(leave.raw(), &mut byte), Ok(1));
                    let _ = member.conn.raw();
                })
            })
            .collect();
        assert_eq!(io::write(start.raw(), &[0; 50]), Ok(50));
        let mut lines = Vec::new();
        for _ in 0..50 {
            let mut line = [0; 24];
            let limit = sys::now() + Duration::from_secs(20);
            assert_eq!(io::poll_until(read.raw(), libc::POLLIN, limit), Ok(true));
            assert_eq!(io::read(read.raw(), &mut line), Ok(24));
            lines.push(line);
        }
        assert!(lines.iter().all(|line| *line == lines[0]), "one stack");
        eventually("the losers leave", || world.keepers().len() == 1);
        assert_eq!(io::write(end.raw(), &[0; 50]), Ok(50));
        for child in children {
            assert_eq!(child.wait(), 0);
        }
        eventually("the keeper leaves", || world.keepers().is_empty());
        assert!(!world.device_exists("utcp0"));
        assert!(!world.names().contains("@utcp/"), "{}", world.names());
    });
}

#[test]
fn the_program_notices_nothing() {
    static SIGNALS: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    World::run(|world| {
        let next_fd = || io::timer().unwrap().raw();
        let before = next_fd();
        // SAFETY: a handler that only counts.
        unsafe { libc::signal(libc::SIGCHLD, count as *const () as usize) };
        let mask = process::set_mask(process::Signals(1 << 9));
        let member = join();
        let high = member.conn.descriptors();
        assert!(high.iter().all(|fd| *fd > 500), "{high:?}");
        for fd in high {
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC);
        }
        assert_eq!(next_fd(), before);
        assert_eq!(process::set_mask(mask), process::Signals(1 << 9));
        let mut status = 0;
        // SAFETY: a place for the status.
        let waited = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) };
        assert_eq!(waited, -1, "no child at all");
        drop(member);
        eventually("the keeper leaves", || world.keepers().is_empty());
        assert_eq!(SIGNALS.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_killed_process_closes_its_sockets() {
    World::run(|world| {
        let member = join();
        let (read, write) = io::pipe().unwrap();
        let child = Child::fork(|| {
            let member = join();
            let _listener = member.listen(80);
            // Bound only: it has no far end.
            let (id, _near) = member.socket();
            let to = Endpoint::new(Addr::ANY4, 81);
            member.runtime.enter().bind(id, to, true).unwrap();
            assert_eq!(io::write(write.raw(), b"x"), Ok(1));
            io::sleep(Duration::from_secs(100));
        });
        assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
        assert_eq!(member.sockets(), 2);
        child.kill();
        let start = Instant::now();
        eventually("the sockets are closed", || member.sockets() == 0);
        assert!(start.elapsed() < Duration::from_millis(1500), "soon");
        assert_eq!(world.keepers().len(), 1);
    });
}

#[test]
fn a_socket_lives_as_long_as_any_reference() {
    World::run(|_| {
        let member = join();
        let (id, near) = member.listen(80);
        let (bound, bound_near) = member.socket();
        let to = Endpoint::new(Addr::ANY4, 81);
        member.runtime.enter().bind(bound, to, true).unwrap();
        let (read, write) = io::pipe().unwrap();
        let child = Child::fork(|| {
            // A child that execs keeps what it inherits, but not the connection.
            let _kept = (
                io::dup_from(near.raw(), 3).unwrap(),
                io::dup_from(bound_near.raw(), 3).unwrap(),
            );
            for fd in member.conn.descriptors() {
                sys::close(fd).unwrap();
            }
            assert_eq!(io::write(write.raw(), b"x"), Ok(1));
            io::sleep(Duration::from_secs(100));
        });
        assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
        drop((near, bound_near));
        let other = join();
        drop(join());
        io::sleep(Duration::from_millis(100));
        assert_eq!(other.sockets(), 2);
        assert!(other.runtime.enter().socket(id).is_ok());
        child.kill();
        eventually("the listener is closed", || other.sockets() == 1);
        // The bound one has no far end, and no connection of its own told of the end.
        drop(join());
        eventually("the bound one is closed", || other.sockets() == 0);
    });
}

#[test]
fn readiness_is_mirrored() {
    World::run(|_| {
        let member = join();
        let (listener, listener_near) = member.listen(80);
        let shows = |near: &Fd, events: i16| {
            let mut fds = [io::PollFd::new(near.raw(), !0)];
            io::poll(&mut fds, Some(Duration::ZERO)).unwrap();
            fds[0].revents & (libc::POLLIN | libc::POLLOUT | libc::POLLHUP | libc::POLLRDHUP)
                == events
        };
        assert!(shows(&listener_near, 0));
        let (client, client_near) = member.connect(80);
        eventually("the listener is readable", || {
            shows(&listener_near, libc::POLLIN)
        });
        let (server, server_near) = member.accept(listener);
        for id in [client, server] {
            member.runtime.enter().watch(id).unwrap();
        }
        assert!(shows(&server_near, libc::POLLOUT));
        let sent = member
            .runtime
            .enter()
            .send(
                client,
                &[std::io::IoSlice::new(b"hello")],
                0,
                Default::default(),
            )
            .unwrap();
        assert_eq!(sent, 5);
        eventually("the server is readable", || {
            shows(&server_near, libc::POLLIN | libc::POLLOUT)
        });
        drop(client_near);
        eventually("the server sees the end", || {
            shows(&server_near, libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP)
        });
        // Closing after the keeper itself shut the far end down.
        let (client, client_near) = member.connect(80);
        member.runtime.enter().watch(client).unwrap();
        let (server, server_near) = member.accept(listener);
        member
            .runtime
            .enter()
            .shutdown(server, crate::stack::How::Both)
            .unwrap();
        member
            .runtime
            .enter()
            .shutdown(client, crate::stack::How::Both)
            .unwrap();
        eventually("both ends are shut", || {
            shows(
                &client_near,
                libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLHUP,
            )
        });
        io::sleep(Duration::from_millis(20));
        assert!(member.runtime.enter().socket(client).is_ok(), "still held");
        drop((client_near, server_near));
        eventually("they are closed", || {
            let host = member.runtime.enter();
            host.socket(client).is_err_and(|_| true) || host.socket(client).unwrap().orphan
        });
    });
}

#[test]
fn time_wait_keeps_the_keeper() {
    World::run(|world| {
        let member = join();
        let (listener, listener_near) = member.listen(80);
        let (_, client_near) = member.connect(80);
        let (_, server_near) = member.accept(listener);
        drop((client_near, listener_near));
        io::sleep(Duration::from_millis(50));
        drop(server_near);
        eventually("the connection is in TIME_WAIT", || member.sockets() == 1);
        drop(member);
        io::sleep(Duration::from_millis(200));
        assert_eq!(world.keepers().len(), 1, "it stays for TIME_WAIT");
        eventually("the keeper leaves", || world.keepers().is_empty());
    });
}

#[test]
fn the_kernel_reaches_the_stack() {
    World::run(|_| {
        let member = join();
        let (listener, _near) = member.listen(8080);
        // Nobody is in the stack: the keeper answers.
        let mut kernel = std::net::TcpStream::connect("198.18.0.2:8080").unwrap();
        let (server, _server_near) = member.accept(listener);
        std::io::Write::write_all(&mut kernel, b"from the kernel").unwrap();
        let mut buf = [0; 64];
        eventually("the bytes arrive", || {
            let host = &mut *member.runtime.enter();
            let mut into = [std::io::IoSliceMut::new(&mut buf)];
            host.recv(server, &mut into, Default::default()) == Ok(15)
        });
        assert_eq!(&buf[..15], b"from the kernel");
        let v6 = std::net::TcpStream::connect("[fd75:7463:7000::2]:8080");
        assert_eq!(
            v6.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn two_stacks_have_two_devices() {
    World::run(|world| {
        let first = join();
        let mut config = config();
        config.stack = "other".to_owned();
        let second = attach(&config).unwrap();
        assert!(world.device_exists("utcp0") && world.device_exists("utcp1"));
        let addr = second.arena.lock().config.addr4;
        assert_eq!(addr.to_string(), "198.18.1.2");
        assert_ne!(first.runtime.nonce(), second.arena.lock().nonce);
    });
}

#[test]
fn the_bell_is_the_keepers() {
    World::run(|_| {
        let member = join();
        let name = member.runtime.bell_name(crate::runtime::KEEPER);
        assert!(bell::hangs(&name));
        assert_eq!(bell::hang(&name).unwrap_err(), Errno(libc::EADDRINUSE));
    });
}
