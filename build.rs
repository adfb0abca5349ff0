//! A new migration must be built into the binary.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
