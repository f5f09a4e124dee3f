//! Processes and threads.
//!
//! fork needs no function here: pthread_atfork calls us (see [`crate::process`]). A child of
//! vfork runs in its parent's memory with descriptors of its own; so that its calls leave the
//! parent's tables alone, vfork says that it happens.

use crate::{blocked, observe, process, real};
use core::ffi::c_int;

extern "C-unwind" fn vfork_begins() {
    process::vfork_begins();
}

extern "C-unwind" fn vfork_over() {
    process::vfork_over();
}

/// vfork(2). The child returns from here first and uses the stack above; the return address is
/// kept in a register meanwhile, as in libc.
///
/// # Safety
/// As vfork's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C-unwind" fn vfork() -> c_int {
    core::arch::naked_asm!(
        "sub rsp, 8",
        "call {begins}",
        "add rsp, 8",
        "pop rdi",
        "mov eax, {number}",
        "syscall",
        "push rdi",
        "test eax, eax",
        "jz 2f",
        // The parent, or nobody.
        "push rax",
        "call {over}",
        "pop rax",
        "cmp rax, -4095",
        "jae 3f",
        "2:",
        "ret",
        "3:",
        "neg eax",
        "push rax",
        "call {errno}",
        "pop rcx",
        "mov dword ptr [rax], ecx",
        "mov rax, -1",
        "ret",
        begins = sym vfork_begins,
        over = sym vfork_over,
        errno = sym libc::__errno_location,
        number = const libc::SYS_vfork,
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_cancel(thread: libc::pthread_t) -> c_int {
    // SAFETY: the caller's argument, which is not to be used after the call: the thread may be
    // detached, and end. (Without a tid it has ended.)
    let tid = unsafe { blocked::tid_of(thread) };
    // SAFETY: the caller's arguments.
    let done = unsafe { real::pthread_cancel(thread) };
    if let Some(tid) = tid.filter(|_| done == 0 && !observe::active()) {
        blocked::cancel(process::attached(), tid);
    }
    done
}
