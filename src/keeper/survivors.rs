//! Finding a stack whose keeper died, through the processes that still use it.
//!
//! A program that starts after a keeper's death, before any other noticed it, would start a
//! stack of its own, and the others would be left on theirs. So each member signs its
//! connection with a name that says where its arena and device are, and a new keeper looks
//! for such names first. The listing shows them only as long as the connections exist, which
//! is as long as a keeper that lives would stay.

use super::names;
use super::spawn::{mode_from_text, mode_to_text};
use crate::link::{Mode, Tun};
use crate::sys::unix::Name;
use crate::sys::{Fd, io, process, unix};
use std::ffi::CString;

/// Give the connection `conn` its name.
pub fn sign(stack: &str, conn: i32, memfd: &Fd, device: Option<(i32, Mode)>) {
    let prefix = names::members(process::euid(), stack);
    let (pid, arena) = (process::pid(), memfd.raw());
    let device = device.map(|(fd, mode)| format!("/{fd}/{}", mode_to_text(mode)));
    let device = device.unwrap_or_default();
    // Without a name, only the others can tell a new keeper of this stack.
    let _ = unix::bind(
        conn,
        &Name::new(format_args!("{prefix}{pid}/{arena}{device}")),
    );
}

/// What a member holds, and which process it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Member {
    pid: u32,
    arena: i32,
    device: Option<(i32, Mode)>,
}

/// The arena of a running stack of that name, and its device if that is to be had.
pub fn find(stack: &str) -> Option<(Fd, Option<Tun>)> {
    let listing = io::read_file(c"/proc/self/net/unix")?;
    let prefix = format!("@{}", names::members(process::euid(), stack));
    let members: Vec<Member> = parse(&listing, &prefix);
    let memfd = members.iter().find_map(|m| arena_of(m, stack))?;
    let tun = members.iter().find_map(|m| {
        let (fd, mode) = m.device?;
        let tun = Tun::from_fd(process::fd_of(m.pid, fd).ok()?, mode);
        // The number may be another file's by now.
        tun.name().ok()?;
        Some(tun)
    });
    Some((memfd, tun))
}

fn parse(listing: &[u8], prefix: &str) -> Vec<Member> {
    listing
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let start = line.iter().rposition(|b| *b == b' ')? + 1;
            let name = core::str::from_utf8(line.get(start..)?).ok()?;
            let mut fields = name.strip_prefix(prefix)?.split('/');
            let (pid, arena) = (fields.next()?, fields.next()?);
            let device = match (fields.next(), fields.next()) {
                (Some(fd), Some(mode)) => fd.parse().ok().zip(mode_from_text(mode)),
                _ => None,
            };
            Some(Member {
                pid: pid.parse().ok()?,
                arena: arena.parse().ok()?,
                device,
            })
        })
        .collect()
}

/// Anybody may use such names: what they point to must be an arena, in a process of ours.
fn arena_of(member: &Member, stack: &str) -> Option<Fd> {
    let Member { pid, arena, .. } = member;
    let process = CString::new(format!("/proc/{pid}")).ok()?;
    if io::owner(&process) != Ok(process::euid()) {
        return None;
    }
    let path = CString::new(format!("/proc/{pid}/fd/{arena}")).ok()?;
    let expected = format!("/memfd:utcp:{stack} (deleted)");
    if io::read_link(&path)? != expected.as_bytes() {
        return None;
    }
    io::open(&path, libc::O_RDWR).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read() {
        let listing = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            00000000bd78bbc9: 00000003 00000000 00000000 0005 03 7 @utcp/0/a/member/12/960/961/1,1,1500\n\
            00000000bd78bbc9: 00000003 00000000 00000000 0005 03 8 @utcp/0/a/member/13/960\n\
            00000000bd78bbc9: 00000003 00000000 00000000 0005 03 9 @utcp/0/ab/member/14/960\n\
            00000000bd78bbc9: 00000003 00000000 00000000 0005 03 9 @utcp/0/a/member/x/960\n";
        let mode = Mode {
            vnet: true,
            offload: true,
            mtu: 1500,
        };
        let members = parse(listing, "@utcp/0/a/member/");
        let expected = [
            Member {
                pid: 12,
                arena: 960,
                device: Some((961, mode)),
            },
            Member {
                pid: 13,
                arena: 960,
                device: None,
            },
        ];
        assert_eq!(members, expected);
    }
}
