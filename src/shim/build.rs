//! Makes the shared library executable; see entry.rs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-e,utcp_keeper_entry");
}
