//! The functions that libutcp.so exports under libc's names, by group. They are thin: each says
//! where its call goes ([`crate::dispatch`]) and what a trace prints.
//!
//! They are `extern "C-unwind"`: a cancelled thread unwinds through them out of libc's own
//! function. That is why nothing in them needs to be dropped.

pub mod data;
pub mod descriptors;
mod files;
mod fortified;
mod lifecycle;
mod processes;
mod readiness;
mod stdio;

/// Another name of an exported function.
macro_rules! alias {
    ($($alias:ident = $target:path: fn($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $alias($($arg: $ty),*) -> $ret {
            // SAFETY: the same function under another name.
            unsafe { $target($($arg),*) }
        }
    )*};
}
use alias;
