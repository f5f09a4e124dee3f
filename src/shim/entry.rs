//! The library as a program: `libutcp.so` can be executed, and is then a stack's keeper.
//!
//! A shared library becomes executable by naming a program interpreter and an entry point
//! (`build.rs`). The interpreter loads the libraries it needs and initialises them, libc
//! included, as for any program; but nobody calls `__libc_start_main`, so the constructors of
//! this library itself, which are for programs that preload it, do not run.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use utcp_stack::stack::settings;

/// Makes the linker add a PT_INTERP header.
#[used]
#[unsafe(link_section = ".interp")]
static INTERPRETER: [u8; 28] = *b"/lib64/ld-linux-x86-64.so.2\0";

/// Where the interpreter jumps to, with the argument count at the stack pointer.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn utcp_keeper_entry() -> ! {
    naked_asm!(
        "xor ebp, ebp",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {start}",
        "ud2",
        start = sym start,
    )
}

/// # Safety
/// `stack` is the stack of a new process: the count of arguments, they, a null pointer, the
/// environment, a null pointer.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: as the caller says; the strings last as long as the process.
    let (args, environment) = unsafe {
        let argv: *const *const c_char = stack.add(1).cast();
        let args = strings(argv);
        (args, strings(argv.add(*stack + 1)))
    };
    settings::ask_for_syns(settings::Whose::All, crate::sysctl::read_for_syn);
    utcp_stack::keeper::main(&args, &environment)
}

/// # Safety
/// `from` is an array of C strings that ends in a null pointer, and lasts.
unsafe fn strings(from: *const *const c_char) -> Vec<&'static [u8]> {
    (0..)
        .map_while(|i| {
            // SAFETY: no element after the null pointer is looked at.
            unsafe {
                let text = *from.add(i);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
            }
        })
        .collect()
}
