//! What the disk can do, without a broker: the limit that a measured rate is compared with. And what lies on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long the disk is measured. Sync times vary; two seconds hold hundreds of them on a slow disk.
const MEASURED: Duration = Duration::from_secs(2);

/// How often a second this disk appends `bytes` to a file and syncs the data (write, fdatasync, one after the other), in
/// the folder `folder`. Blocks for about two seconds.
pub fn synced_appends_per_second(folder: &Path, bytes: usize) -> anyhow::Result<f64> {
    let path = folder.join("quorate-bench-disk");
    let rate = measure(&path, bytes).with_context(|| path.display().to_string());
    // Best effort: the folder is temporary anyway.
    let _ = std::fs::remove_file(&path);
    rate
}

fn measure(path: &Path, bytes: usize) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    let record = vec![0x5a; bytes];
    let began = Instant::now();
    let mut appends: u32 = 0;
    while began.elapsed() < MEASURED {
        file.write_all(&record)?;
        file.sync_data()?;
        appends += 1;
    }
    Ok(f64::from(appends) / began.elapsed().as_secs_f64())
}

/// The lengths of all files below `folder`, added up. A file that goes meanwhile counts nothing: stores delete theirs.
pub fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder)).with_context(|| folder.display().to_string())? else {
            continue;
        };
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let path = entry.path();
            match unless_gone(entry.metadata()).with_context(|| path.display().to_string())? {
                Some(metadata) if metadata.is_dir() => folders.push(path),
                Some(metadata) => bytes += metadata.len(),
                None => {}
            }
        }
    }
    Ok(bytes)
}

/// Fails where the temporary folder, in which every store lies, is memory: a sync would cost nothing there.
pub fn ensure_temporary_folder_is_a_disk() -> anyhow::Result<()> {
    let folder = std::env::temp_dir();
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    match filesystem_of(&mounts, &folder) {
        Some(kind @ ("tmpfs" | "ramfs")) => {
            bail!("{} is on {kind}, where a sync costs nothing: set TMPDIR to a folder on a disk", folder.display())
        }
        _ => Ok(()),
    }
}

/// The kind of the filesystem with the longest mount point above `path`, the last mounted of them.
fn filesystem_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (point, kind) = (Path::new(fields.next()?), fields.next()?);
        path.starts_with(point).then(|| (point.components().count(), kind))
    });
    above.max_by_key(|&(depth, _)| depth).map(|(_, kind)| kind)
}

fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filesystem_of_a_folder_is_that_of_the_nearest_mount_point() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        for (folder, kind) in [("/tmp/x", "tmpfs"), ("/tmp/disk/x", "xfs"), ("/tmpx", "ext4")] {
            assert_eq!(filesystem_of(mounts, Path::new(folder)), Some(kind), "{folder}");
        }
    }

    #[test]
    fn bytes_are_counted_in_folders_of_folders() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("inner")).expect("a folder");
        fs::write(folder.path().join("a"), [0; 10]).expect("a file");
        fs::write(folder.path().join("inner/b"), [0; 5]).expect("a file");
        assert_eq!(bytes_below(folder.path()).expect("readable"), 15);
        assert_eq!(bytes_below(&folder.path().join("gone")).expect("nothing"), 0);
    }
}
