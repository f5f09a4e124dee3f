//! Network namespaces of our own, made by running this program again inside them.
//!
//! Nothing sent there gets out: a fresh namespace has a loopback device and nothing else.

use crate::trouble::{Result, Trouble};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::Read;
use std::process::{Command, Stdio};

/// The hidden subcommand that does a job inside a namespace.
pub const INSIDE: &str = "inside-namespace";

/// Where a job is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a namespace of its own.
    Namespace,
    /// In ours: where no namespaces are to be had.
    Here,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Refused {
    /// No namespace can be made.
    Namespace(Trouble),
    /// The job itself failed.
    Job(Trouble),
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        match refused {
            Refused::Namespace(trouble) | Refused::Job(trouble) => trouble,
        }
    }
}

/// What the inside hands back.
#[derive(Serialize, Deserialize)]
enum Answer<R> {
    Done(R),
    NoNamespace(String),
    Failed(String),
}

/// Have `job` done by this program, run again, and take its result.
pub fn run<J: Serialize, R: DeserializeOwned>(
    job: &J,
    place: Place,
) -> std::result::Result<R, Refused> {
    let what = "cannot run this program again";
    let failed = |e: &dyn std::fmt::Display| Refused::Job(Trouble::new(what, e));
    let job = serde_json::to_string(job).map_err(|e| failed(&e))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(INSIDE).arg(job);
    if place == Place::Here {
        command.arg(HERE);
    }
    let mut child = command
        // A device that exists out here does not exist in there.
        .env_remove("UTCP_TUN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&e))?;
    let mut answer = String::new();
    if let Some(stdout) = &mut child.stdout {
        let read = stdout.read_to_string(&mut answer);
        read.map_err(|e| failed(&e))?;
    }
    let status = child.wait().map_err(|e| failed(&e))?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Done(result)) => Ok(result),
        Ok(Answer::NoNamespace(line)) => Err(Refused::Namespace(Trouble::relayed(line))),
        Ok(Answer::Failed(line)) => Err(Refused::Job(Trouble::relayed(line))),
        Err(_) if !status.success() => Err(failed(&status)),
        Err(e) => Err(failed(&e)),
    }
}

/// The argument of the hidden subcommand for [`Place::Here`].
pub const HERE: &str = "--here";

/// The other end of [`run`]: make the namespaces, do the job, print its result.
pub fn inside<R: Serialize>(place: Place, job: impl FnOnce() -> Result<R>) -> Result<()> {
    adopt();
    let entered = match place {
        Place::Namespace => enter(),
        Place::Here => Ok(()),
    };
    let answer = match entered {
        Err(e) => Answer::NoNamespace(e.to_string()),
        Ok(()) => match job() {
            Ok(result) => Answer::Done(result),
            Err(e) => Answer::Failed(e.to_string()),
        },
    };
    end_descendants();
    let answer = serde_json::to_string(&answer)
        .map_err(|e| Trouble::new("cannot hand the result back", e))?;
    println!("{answer}");
    Ok(())
}

/// What the programs leave behind becomes our child, and ends with us.
fn adopt() {
    // SAFETY: prctl with plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Put this process, which has one thread, into namespaces of its own.
fn enter() -> Result<()> {
    // SAFETY: no arguments; unshare touches this process alone.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: as above.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !alone {
        // SAFETY: as above.
        let as_user = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) };
        if as_user != 0 {
            let why = std::io::Error::last_os_error();
            return Err(Trouble::new("no network namespace can be made", why)
                .mend(utcp_stack::sys::remedy::namespaces()));
        }
        let write = |file: &str, text: String| {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| Trouble::new(format!("cannot write /proc/self/{file}"), e))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    loopback_up()
}

/// Bring the loopback device of this thread's namespace up.
pub fn loopback_up() -> Result<()> {
    let what = "cannot bring the loopback device up";
    // SAFETY: a socket of this function alone, closed below; `request` is valid for both
    // calls, which read and write no more than an ifreq.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(Trouble::last(what));
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        let mut done = libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &raw mut request) == 0;
        if done {
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            done = libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request) == 0;
        }
        let trouble = Trouble::last(what);
        libc::close(fd);
        if done { Ok(()) } else { Err(trouble) }
    }
}

/// End what is left of the programs, keepers included.
fn end_descendants() {
    let me = std::process::id();
    for _ in 0..50 {
        let children = crate::procs::children(me);
        if children.is_empty() {
            return;
        }
        for pid in children {
            // SAFETY: a child of ours that has not been waited for, so the id is still its own.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    }
}
