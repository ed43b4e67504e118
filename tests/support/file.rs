//! Files that others read.

use std::path::Path;

/// Replaces a file in one step, as the kubelet does with a mounted secret.
pub fn replace_file(file: &Path, content: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}
