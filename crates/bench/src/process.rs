//! What Linux says about a process: CPU time and resident memory, from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks a second in `/proc/{pid}/stat`. Linux' `USER_HZ`, part of its ABI on all machines that we run on.
const TICKS_PER_SECOND: u64 = 100;
/// `utime` in the fields after the command's name, counted from 0 (proc_pid_stat(5): fields 14 and 15 of all).
const USER_TIME_FIELD: usize = 11;

/// The first line of `/proc/stat` counts what all processors did (proc_stat(5)); these two of its fields, counted from 0
/// after its name, are idleness.
const IDLE_FIELDS: [usize; 2] = [3, 4];
/// What guests use is in user time already.
const FIELDS_COUNTED: usize = 8;

/// CPU time that all processes of the machine have used since its start, and what its host kept from it.
pub fn machine_cpu_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let ticks = busy_ticks(&stat).context("an unknown form of /proc/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// A process to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The one with this id.
    Id(u32),
    /// This one.
    Own,
}

impl Process {
    /// CPU time that it has used since its start, all threads, user and system.
    pub fn cpu_time(self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        let ticks = cpu_ticks(&stat).context("an unknown form of /proc/{pid}/stat")?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(self) -> anyhow::Result<u64> {
        let status = self.read("status")?;
        kib_of(&status, "VmRSS:").map(|kib| kib * 1024).context("no VmRSS in /proc/{pid}/status")
    }

    /// The most that its resident memory ever was, in bytes.
    pub fn peak_resident_bytes(self) -> anyhow::Result<u64> {
        let status = self.read("status")?;
        kib_of(&status, "VmHWM:").map(|kib| kib * 1024).context("no VmHWM in /proc/{pid}/status")
    }

    fn read(self, file: &str) -> anyhow::Result<String> {
        let folder = match self {
            Process::Id(id) => id.to_string(),
            Process::Own => "self".to_owned(),
        };
        let path = PathBuf::from("/proc").join(folder).join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// The command's name may hold spaces and brackets; the fields begin after its last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(USER_TIME_FIELD).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields = line.split_whitespace().take(FIELDS_COUNTED).enumerate();
    let busy = fields.filter(|(place, _)| !IDLE_FIELDS.contains(place));
    busy.map(|(_, field)| field.parse::<u64>().ok()).sum()
}

fn kib_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_time_whatever_the_command_is_called() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 8 0 1000 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
    }

    #[test]
    fn the_machine_is_busy_with_all_but_idleness() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1 2 4 8\n"), Some(63));
        assert_eq!(busy_ticks("intr 1\n"), None);
        machine_cpu_time().expect("a figure");
    }

    #[test]
    fn memory_is_read_from_its_line() {
        let status = "Name:\tx\nVmHWM:\t   2345 kB\nVmRSS:\t   1234 kB\nThreads:\t1\n";
        assert_eq!(kib_of(status, "VmRSS:"), Some(1234));
        assert_eq!(kib_of(status, "VmHWM:"), Some(2345));
        assert_eq!(kib_of("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        assert!(Process::Own.resident_bytes().expect("a figure") > 0);
        assert!(Process::Own.peak_resident_bytes().expect("a figure") > 0);
        Process::Own.cpu_time().expect("a figure");
    }
}
