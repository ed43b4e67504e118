//! Files that others read, and the folders of the build.

use std::path::{Path, PathBuf};

/// Replaces a file in one step, as the kubelet does with a mounted secret.
pub fn replace_file(file: &Path, content: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// The folder of the build's programs, whose name is that of the profile.
pub(crate) fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap();
    // Test programs are in the folder `deps` of it.
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { folder.to_owned() }
}

/// The target directory of the build, where `cargo xtask test` puts tools.
pub(crate) fn target() -> PathBuf {
    profile_folder().parent().unwrap().to_owned()
}
