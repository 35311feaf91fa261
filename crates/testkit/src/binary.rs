//! Where the built binary is.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The `quorate` binary of the profile that this executable was built with: beside it, or one above `deps/` where the
/// executable is a test.
///
/// # Errors
/// When it was not built.
pub fn quorate_binary() -> anyhow::Result<PathBuf> {
    let executable = env::current_exe().context("where this executable is")?;
    let binary = beside(&executable);
    if !binary.is_file() {
        bail!("{} does not exist: run `make build`", binary.display());
    }
    Ok(binary)
}

fn beside(executable: &Path) -> PathBuf {
    let folder = executable.parent().unwrap_or(Path::new(""));
    let folder = match folder.file_name() {
        Some(name) if name == "deps" || name == "examples" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    folder.join("quorate")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::beside;

    #[test]
    fn it_is_beside_the_executable_or_above_deps() {
        let expected = Path::new("/t/release/quorate");
        for executable in ["/t/release/quorate-bench", "/t/release/deps/blackbox-1f", "/t/release/examples/x"] {
            assert_eq!(beside(Path::new(executable)), expected);
        }
    }
}
