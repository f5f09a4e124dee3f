//! The keeper when something goes wrong: processes stopped or killed, devices removed, keepers
//! dead, no privileges, no descriptors.

use super::world::{Child, World, eventually};
use super::{AttachError, attach, config, join, names, reattach};
use crate::config::Config;
use crate::runtime::KeeperMode;
use crate::sys::unix::Kind;
use crate::sys::{self, io, process, unix};
use std::time::{Duration, Instant};

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
            Duration::from_secs(20),
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
        assert!(start.elapsed() < Duration::from_millis(1500));
        eventually("everything is closed", || member.sockets() == 0);
        eventually("the waiter is given back", || {
            member.runtime.enter().sh.waiters.in_use() == 0
        });
    });
}

/// The keepers of a stack of this name die before they answer; those of the name with a number
/// behind it do so as long as there is a file of that name, and remove it.
const DIES: &str = "dies";

fn dies_once() -> (String, std::path::PathBuf) {
    let name = format!("{DIES}{}", process::pid());
    let file = std::env::temp_dir().join(&name);
    (name, file)
}

/// As a keeper of the stack `name`: perhaps be killed.
pub(super) fn may_die_at_once(name: Option<&[u8]>) {
    let name = name.and_then(|n| core::str::from_utf8(n).ok());
    let Some(number) = name.and_then(|n| n.strip_prefix(DIES)) else {
        return;
    };
    let file = std::env::temp_dir().join(name.unwrap_or_default());
    if number.is_empty() || std::fs::remove_file(file).is_ok() {
        // SAFETY: no pointers; this process.
        unsafe { libc::kill(process::pid() as i32, libc::SIGKILL) };
    }
}

#[test]
fn a_keeper_that_is_killed_before_it_answers_is_replaced() {
    World::run(|world| {
        let (stack, file) = dies_once();
        std::fs::write(&file, "").unwrap();
        let once = Config { stack, ..config() };
        let _attachment = attach(&once).unwrap();
        assert!(!file.exists(), "none died");
        assert_eq!(world.keepers().len(), 1);
    });
}

#[test]
fn keepers_that_die_before_they_answer_are_not_waited_for() {
    World::run(|_| {
        let never = Config {
            stack: DIES.to_owned(),
            ..config()
        };
        assert!(matches!(attach(&never), Err(AttachError::Mute(_))));
    });
}

#[test]
fn a_killed_tracer_traces_no_longer() {
    World::run(|_| {
        let member = join();
        let tracers = || member.runtime.enter().sh.trace.tracers;
        let trace = |member: &super::Member| {
            let mut host = member.runtime.enter();
            member.runtime.begin_trace(&mut host).unwrap()
        };
        let own = trace(&member);
        let (read, write) = io::pipe().unwrap();
        let other = || {
            let child = Child::fork(|| {
                let member = join();
                let _tracer = trace(&member);
                assert_eq!(io::write(write.raw(), b"x"), Ok(1));
                io::sleep(Duration::from_secs(60));
            });
            assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
            child
        };
        let child = other();
        assert_eq!(tracers(), 0b11);
        child.kill();
        eventually("the keeper takes its place back", || tracers() == 0b01);
        // Without a keeper the next tracer does.
        let child = other();
        // SAFETY: the keeper that this test started.
        unsafe { libc::kill(member.keeper() as i32, libc::SIGKILL) };
        eventually("the keeper is dead", || !member.conn.is_alive());
        child.kill();
        assert_eq!(tracers(), 0b11);
        let third = trace(&member);
        assert_eq!(tracers(), 0b11);
        let mut host = member.runtime.enter();
        member.runtime.end_trace(&mut host, own);
        member.runtime.end_trace(&mut host, third);
        assert_eq!(host.sh.trace.tracers, 0);
    });
}

#[test]
fn a_device_may_be_removed() {
    World::run(|world| {
        let member = join();
        let (read, write) = io::pipe().unwrap();
        let child = Child::fork(|| {
            let member = join();
            let (id, _near) = member.listen(80);
            assert_eq!(io::write(write.raw(), b"x"), Ok(1));
            member.block_for_ever(id)
        });
        assert_eq!(io::read(read.raw(), &mut [0]), Ok(1));
        io::sleep(Duration::from_millis(50));
        crate::link::config::delete("utcp0").unwrap();
        eventually("the stack knows", || {
            !member.runtime.enter().sh.config.has_device
        });
        let why = member.runtime.enter().sh.no_device_why;
        assert!(String::from_utf8_lossy(&why).contains("removed"));
        // Nobody spins on what is left of it.
        let spent = || -> u64 {
            [child.pid(), member.keeper() as i32]
                .map(|pid| {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
                    let ticks = |i: usize| fields[i].parse::<u64>().unwrap();
                    ticks(11) + ticks(12)
                })
                .iter()
                .sum()
        };
        io::sleep(Duration::from_millis(50));
        let before = spent();
        io::sleep(Duration::from_millis(500));
        let ticks = spent() - before;
        assert!(ticks < 15, "{ticks} ticks of 50");
        drop(member.connect(80));
        drop(child);
        drop(member);
        eventually("the keeper leaves", || world.keepers().is_empty());
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
        eventually("the keeper is dead", || !member.conn.is_alive());
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
        eventually("the keeper is dead", || !member.conn.is_alive());
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
        crate::worlds::drop_capabilities();
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
fn mistakes_come_back_as_a_line() {
    World::run(|_| {
        let mut config = config();
        config.tun = Some("nothere".to_owned());
        // A device that isn't there is no reason to have no stack.
        let attachment = attach(&config).unwrap();
        let why = attachment.arena.lock().no_device_why;
        assert!(String::from_utf8_lossy(&why).contains("nothere"));
        drop(attachment);
        let mut config = super::config();
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
