//! `libutcp.so`: libc's socket calls, served by the utcp stack.
