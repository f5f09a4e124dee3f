//! Goodput on bad links: utcp and the kernel, under the same impairment and the same seed.
//!
//! `cargo build --release && cargo run --release --example goodput -- [OPTION...] [FILTER...]`;
//! `--help` lists the options. As root, in network namespaces that it makes for itself.
//!
//! In every run one program sends for some seconds, the other receives and looks at every byte;
//! then what was written and what was read are compared by length and sum. Goodput is what
//! arrived, over the time from the connection to the last byte. The model of `src/impair`
//! impairs both pairs with the same settings and seed:
//!
//! - *kernel to kernel*: two namespaces, a TUN device in each, and a forwarder between them in
//!   this process;
//! - *utcp to kernel*, *kernel to utcp*: the stack's own links.
//!
//! The first namespace's kernel stands where the stack stands: what it sends goes "out".

#![allow(unsafe_code)]

mod ends;
mod forward;
mod pairs;
mod table;

const PORT: u16 = 9000;

type Result<T> = std::result::Result<T, String>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["send", address, seconds, algorithm, watch] => ends::send(
            address,
            seconds.parse().unwrap_or(1.0),
            algorithm,
            watch == "watch",
        ),
        ["receive", address, reader, watch] => {
            ends::receive(address, reader == "slow", watch == "watch")
        }
        _ => table::compare(&words),
    };
    if let Err(e) = done {
        eprintln!("goodput: {e}");
        std::process::exit(1);
    }
}
