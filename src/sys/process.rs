//! Processes: who we are, signals, limits, and starting another image.

use super::{Errno, Result, syscall};
use core::arch::asm;
use core::ffi::c_char;

/// getpid(2).
pub fn pid() -> u32 {
    simple(libc::SYS_getpid) as u32
}

/// gettid(2).
pub fn tid() -> u32 {
    simple(libc::SYS_gettid) as u32
}

/// geteuid(2).
pub fn euid() -> u32 {
    simple(libc::SYS_geteuid) as u32
}

fn simple(number: libc::c_long) -> usize {
    // SAFETY: used for calls without arguments that can't fail.
    unsafe { syscall(number, [0; 6]) }.unwrap_or(0)
}

/// Whether thread `tid` of process `pid` exists (as far as this process's namespace shows).
pub fn thread_exists(pid: u32, tid: u32) -> bool {
    // SAFETY: no pointers; signal 0 is none.
    let got = unsafe { syscall(libc::SYS_tgkill, [pid as usize, tid as usize, 0, 0, 0, 0]) };
    got != Err(Errno(libc::ESRCH))
}

/// A set of signals as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Signals(pub u64);

/// Block every signal, libc's own included; gives the mask that was in force.
pub fn block_signals() -> Signals {
    set_mask(Signals(u64::MAX))
}

/// Set this thread's signal mask; gives the one that was in force.
pub fn set_mask(mask: Signals) -> Signals {
    let mut old = Signals(0);
    // SAFETY: both sets are eight bytes long and outlive the call.
    let _ = unsafe {
        syscall(
            libc::SYS_rt_sigprocmask,
            [
                libc::SIG_SETMASK as usize,
                &raw const mask as usize,
                &raw mut old as usize,
                8,
                0,
                0,
            ],
        )
    };
    old
}

/// The kernel's `struct sigaction`.
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Give `signal` its default action, or have it ignored.
pub fn set_default(signal: i32, ignored: bool) {
    let action = Action {
        handler: if ignored {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        },
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: no handler is installed; the old action isn't asked for.
    let _ = unsafe {
        syscall(
            libc::SYS_rt_sigaction,
            [signal as usize, &raw const action as usize, 0, 8, 0, 0],
        )
    };
}

/// Give this thread's name (`comm`) to ps and top: at most 15 bytes count.
pub fn set_name(name: &core::ffi::CStr) {
    // SAFETY: `name` ends in a NUL.
    let _ = unsafe {
        syscall(
            libc::SYS_prctl,
            [
                libc::PR_SET_NAME as usize,
                name.as_ptr() as usize,
                0,
                0,
                0,
                0,
            ],
        )
    };
}

/// A resource's soft and hard limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// getrlimit(2).
pub fn limit(resource: u32) -> Result<Limit> {
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: `limit` has the layout of rlimit64.
    unsafe {
        syscall(
            libc::SYS_prlimit64,
            [0, resource as usize, 0, &raw mut limit as usize, 0, 0],
        )
    }?;
    Ok(limit)
}

/// Raise a resource's soft limit to its hard one.
pub fn raise_limit(resource: u32) {
    let Ok(mut limit) = limit(resource) else {
        return;
    };
    limit.soft = limit.hard;
    // SAFETY: `limit` has the layout of rlimit64.
    let _ = unsafe {
        syscall(
            libc::SYS_prlimit64,
            [0, resource as usize, &raw const limit as usize, 0, 0, 0],
        )
    };
}

/// pidfd_getfd(2): the same file as descriptor `fd` of process `pid`, if this process may trace
/// that one.
pub fn fd_of(pid: u32, fd: i32) -> Result<super::Fd> {
    // SAFETY: no pointers.
    let process = unsafe { syscall(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) }?;
    let process = super::Fd::own(process as i32);
    let args = [process.raw() as usize, fd as usize, 0, 0, 0, 0];
    // SAFETY: no pointers.
    let got = unsafe { syscall(libc::SYS_pidfd_getfd, args) }?;
    Ok(super::Fd::own(got as i32))
}

/// A descriptor of this process, which polls readable when it has ended.
pub fn pidfd() -> Result<super::Fd> {
    // SAFETY: no pointers.
    let fd = unsafe { syscall(libc::SYS_pidfd_open, [pid() as usize, 0, 0, 0, 0, 0]) }?;
    Ok(super::Fd::own(fd as i32))
}

/// exit_group(2).
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        let _ = unsafe { syscall(libc::SYS_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// setsid(2).
pub fn new_session() {
    let _ = simple(libc::SYS_setsid);
}

/// chdir(2).
pub fn change_directory(path: &core::ffi::CStr) {
    // SAFETY: `path` ends in a NUL.
    let _ = unsafe { syscall(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) };
}

/// dup2(2): `to` becomes the same file as `from`, and stays open over exec.
pub fn dup_to(from: i32, to: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_dup2, [from as usize, to as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Close every descriptor from `first` on.
pub fn close_from(first: i32) {
    // SAFETY: no pointers.
    let closed = unsafe {
        syscall(
            libc::SYS_close_range,
            [first as usize, u32::MAX as usize, 0, 0, 0, 0],
        )
    };
    if closed.is_err() {
        // Before Linux 5.9, or forbidden by a filter.
        let end = limit(libc::RLIMIT_NOFILE).map_or(1024, |l| l.soft.min(1 << 20));
        for fd in first..end as i32 {
            let _ = super::close(fd);
        }
    }
}

/// execve(2); returns only its error.
///
/// # Safety
/// `argv` and `envp` are arrays of C strings that end in a null pointer.
pub unsafe fn exec(
    path: &core::ffi::CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    unsafe {
        syscall(
            libc::SYS_execve,
            [
                path.as_ptr() as usize,
                argv as usize,
                envp as usize,
                0,
                0,
                0,
            ],
        )
    }
    .err()
    .unwrap_or(Errno(0))
}

/// Wait for child `pid` to end, one that sends no SIGCHLD included.
pub fn wait_for(pid: i32) {
    loop {
        // SAFETY: the status isn't asked for.
        let got = unsafe {
            syscall(
                libc::SYS_wait4,
                [pid as usize, 0, libc::__WALL as usize, 0, 0, 0],
            )
        };
        if got != Err(Errno(libc::EINTR)) {
            return;
        }
    }
}

/// Run `child(arg)` in a new process on `stack_top`, sharing all memory, and stop this thread
/// until it has ended or become another image. It sends no signal when it ends, and wait(2)
/// finds it with `__WALL` only. Its id is returned.
///
/// The clone(2) of libc isn't used: the library exports that name itself.
///
/// # Safety
/// `stack_top` is the 16-aligned end of enough unused memory. `child` must do nothing but
/// system calls (see [`syscall`]) and end in exec or [`exit`]: it runs with the thread pointer
/// of this thread, next to the program's other threads. Signals should be blocked: a handler
/// would run in the child too.
pub unsafe fn clone_vfork(
    stack_top: *mut u8,
    child: extern "C" fn(*mut u8) -> !,
    arg: *mut u8,
) -> Result<i32> {
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as usize;
    let ret: isize;
    // SAFETY: the child goes on with the same registers on its own empty stack, so it reaches
    // `child` through a register and never returns; the parent sees the call alone.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => ret,
            in("rdi") flags,
            in("rsi") stack_top,
            in("rdx") 0usize,
            in("r10") 0usize,
            in("r8") 0usize,
            in("r12") child,
            in("r13") arg,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if ret < 0 {
        Err(Errno(-ret as i32))
    } else {
        Ok(ret as i32)
    }
}

/// How many pages the children that ended and were waited for had touched: another number whenever
/// there was one more.
pub fn faults_of_children() -> i64 {
    // SAFETY: zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    let args = [
        libc::RUSAGE_CHILDREN as usize,
        &raw mut usage as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: `usage` outlives the call.
    match unsafe { syscall(libc::SYS_getrusage, args) } {
        Ok(_) => usage.ru_minflt,
        Err(_) => 0,
    }
}
