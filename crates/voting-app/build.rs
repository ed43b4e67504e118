//! Rebuilds the crate when an asset changes: the macro that embeds them does not tell Cargo.

fn main() {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=templates");
}
