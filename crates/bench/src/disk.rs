//! What the disk can do, without a broker: the limit that a measured rate is compared with.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

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
