//! The keeper as a process. These tests' keepers are this test program, executed under the
//! keeper's name; each test runs in a process and a network namespace of its own.

use super::*;
use crate::addr::{Addr, Endpoint};
use crate::config::Config;
use crate::runtime::{KeeperMode, Runtime, Wait};
use crate::stack::{Family, Owner, Ready, SockId};
use crate::sys::unix::Kind;
use crate::sys::{self, Errno, Fd, bell, io, process, unix};
use crate::tcp::Sysctl;
use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
        assert!(start.elapsed() < Duration::from_secs(1), "soon");
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
fn the_role_changes_hands() {
    World::run(|_| {
        let member = join();
        let is = |mode: KeeperMode| member.mode() == mode as u32;
        eventually("it drives", || is(KeeperMode::Driving));
        let (read, write) = io::pipe().unwrap();
        let child = Child::fork(|| {
            let member = join();
            let (id, _near) = member.listen(80);
            assert_eq!(io::write(write.raw(), b"x"), Ok(1));
            member.block_for_ever(id)
        });
        assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
        eventually("it sleeps deeply", || is(KeeperMode::Deep));
        // A driver that is stopped is not believed in for ever: the kernel's packets are
        // answered.
        child.signal(libc::SIGSTOP);
        io::sleep(Duration::from_millis(20));
        let start = Instant::now();
        let kernel = std::net::TcpStream::connect_timeout(
            &"198.18.0.2:80".parse().unwrap(),
            Duration::from_secs(5),
        );
        assert!(kernel.is_ok(), "{kernel:?}");
        println!("a stopped driver was replaced after {:?}", start.elapsed());
        eventually("it drives", || is(KeeperMode::Driving));
        child.signal(libc::SIGCONT);
        // It is told of the connection, and drives again when it sleeps again.
        eventually("it sleeps deeply", || is(KeeperMode::Deep));
        let start = Instant::now();
        child.kill();
        eventually("it drives", || is(KeeperMode::Driving));
        assert!(start.elapsed() < Duration::from_millis(200));
        eventually("everything is closed", || member.sockets() == 0);
        eventually("the waiter is given back", || {
            member.runtime.enter().sh.waiters.in_use() == 0
        });
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
fn a_dead_keeper_is_replaced() {
    World::run(|world| {
        let member = join();
        let old = member.keeper();
        let (read, write) = io::pipe().unwrap();
        let (go, start) = io::pipe().unwrap();
        let (leave, end) = io::pipe().unwrap();
        let others: Vec<Child> = (0..5)
            .map(|_| {
                Child::fork(|| {
                    let member = join();
                    assert_eq!(io::write(write.raw(), b"x"), Ok(1));
                    assert_eq!(io::read(go.raw(), &mut [0]), Ok(1));
                    assert!(!member.conn.is_alive());
                    let conn = reattach(&config(), &member.conn, None).unwrap();
                    assert_eq!(io::write(write.raw(), b"x"), Ok(1));
                    assert_eq!(io::read(leave.raw(), &mut [0]), Ok(1));
                    assert!(conn.is_alive());
                })
            })
            .collect();
        let hear_five = || {
            for _ in 0..5 {
                assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
            }
        };
        hear_five();
        let (listener, listener_near) = member.listen(80);
        let kernel = std::net::TcpStream::connect("198.18.0.2:80").unwrap();
        let (_server, server_near) = member.accept(listener);
        // SAFETY: the keeper that this test started.
        unsafe { libc::kill(old as i32, libc::SIGKILL) };
        eventually("the keeper is dead", || world.keepers().is_empty());
        assert!(!member.conn.is_alive());
        assert_eq!(io::write(start.raw(), &[0; 5]), Ok(5));
        hear_five();
        // They had no device to give; this one has. It arrives while the new keeper serves.
        let device = member.runtime.device();
        let conn = reattach(&config(), &member.conn, device).unwrap();
        eventually("the losers leave", || world.keepers().len() == 1);
        assert_ne!(world.keepers(), [old]);
        drop(std::net::TcpStream::connect("198.18.0.2:80").unwrap());
        // What the connections were is still there; they end when their descriptors do.
        assert!(kernel.peer_addr().is_ok());
        drop((listener_near, server_near));
        eventually("all is closed", || {
            let host = member.runtime.enter();
            !host
                .sh
                .sockets
                .iter_in_use()
                .any(|(_, socket)| !socket.orphan)
        });
        assert_eq!(io::write(end.raw(), &[0; 5]), Ok(5));
        for other in others {
            assert_eq!(other.wait(), 0);
        }
        drop((member, conn, kernel));
        eventually("the keeper leaves", || world.keepers().is_empty());
        assert!(!world.device_exists("utcp0"));
    });
}

#[test]
fn a_new_program_may_be_the_first_to_notice() {
    World::run(|world| {
        let member = join();
        let (listener, near) = member.listen(80);
        let old = member.keeper();
        // SAFETY: the keeper that this test started.
        unsafe { libc::kill(old as i32, libc::SIGKILL) };
        eventually("the keeper is dead", || world.keepers().is_empty());
        let other = join();
        assert_eq!(other.runtime.nonce(), member.runtime.nonce(), "one stack");
        assert!(other.runtime.enter().socket(listener).is_ok());
        assert_eq!(
            other.runtime.device().is_some(),
            world.device_exists("utcp0")
        );
        drop(std::net::TcpStream::connect("198.18.0.2:80").unwrap());
        let conn = reattach(&config(), &member.conn, member.runtime.device()).unwrap();
        drop((near, member, conn, other));
        eventually("the keeper leaves", || world.keepers().is_empty());
    });
}

#[test]
fn without_privileges_there_is_loopback() {
    World::run(|_| {
        world::drop_capabilities();
        let member = join();
        let host = member.runtime.enter();
        assert!(!host.sh.config.has_device);
        let why = String::from_utf8_lossy(&host.sh.no_device_why).into_owned();
        let why = why.trim_end_matches('\0');
        assert!(
            why.contains("CAP_NET_ADMIN") && why.contains("utcp up"),
            "{why}"
        );
        drop(host);
        let (_, _listener) = member.listen(80);
        let (_, _client) = member.connect(80);
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
fn mistakes_come_back_as_a_line() {
    World::run(|_| {
        let mut config = config();
        config.tun = Some("nothere".to_owned());
        // A device that isn't there is no reason to have no stack.
        let attachment = attach(&config).unwrap();
        let why = attachment.arena.lock().no_device_why;
        assert!(String::from_utf8_lossy(&why).contains("nothere"));
        drop(attachment);
        let mut config = super::tests::config();
        config.stack = "not/a/name".to_owned();
        let error = attach(&config).unwrap_err();
        assert!(matches!(error, AttachError::Keeper(_)), "{error:?}");
        assert!(error.to_string().contains("UTCP_STACK"), "{error}");
        assert_eq!(error.errno(), libc::ENETDOWN);
    });
}

#[test]
fn somebody_else_has_the_name() {
    World::run(|_| {
        let squatter = unix::socket(Kind::SeqPacket, true).unwrap();
        unix::bind(squatter.raw(), &names::keeper(process::euid(), "default")).unwrap();
        unix::listen(squatter.raw(), 5).unwrap();
        let child = Child::fork(|| {
            let error = attach(&config()).unwrap_err();
            assert_eq!(error, AttachError::NoKeeper);
        });
        let end = sys::now() + Duration::from_secs(5);
        assert_eq!(io::poll_until(squatter.raw(), libc::POLLIN, end), Ok(true));
        let conn = unix::accept(squatter.raw(), false).unwrap();
        unix::send(conn.raw(), b"hello, world", &[], 0).unwrap();
        assert_eq!(child.wait(), 0);
    });
}

#[test]
fn descriptors_may_be_few() {
    World::run(|_| {
        let limit = libc::rlimit {
            rlim_cur: 20,
            rlim_max: 4096,
        };
        // SAFETY: a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        let member = join();
        let keeper = format!("/proc/{}/limits", member.keeper());
        let limits = std::fs::read_to_string(keeper).unwrap();
        let line = limits.lines().find(|l| l.starts_with("Max open files"));
        assert!(
            line.unwrap().contains("4096                 4096"),
            "{line:?}"
        );
        drop(member);
        let mut all = Vec::new();
        while let Ok(fd) = io::timer() {
            all.push(fd);
        }
        let error = attach(&config()).unwrap_err();
        assert_eq!(error.errno(), libc::EMFILE, "{error}");
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
