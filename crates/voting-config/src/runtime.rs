//! The runtime of a program.

use tokio::runtime::Runtime;

use crate::setting::InvalidSetting;

/// The least number of files that a program may have open: with fewer, the runtime panics or no connection can be made.
const LEAST_FILES: u64 = 64;

/// A runtime with a thread for each core.
///
/// # Errors
/// [`InvalidSetting`]: the process may open too few files, or the system has no threads left.
pub fn runtime() -> Result<Runtime, InvalidSetting> {
    // Raises the limit as far as this process may.
    if let Ok(files) = rlimit::increase_nofile_limit(LEAST_FILES)
        && files < LEAST_FILES
    {
        return Err(InvalidSetting::of_limit(format!(
            "the limit of open files (ulimit -n) is {files}; allowed: {LEAST_FILES} or more"
        )));
    }
    Runtime::new().map_err(|error| {
        InvalidSetting::of_limit(format!(
            "the runtime can't be started ({error}); allowed: more open files and threads"
        ))
    })
}
