//! Builds the program anew when an asset changes: the macro that embeds them does not tell cargo.

fn main() {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=templates");
}
