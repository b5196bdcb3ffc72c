//! Whether the system's clock can be believed. A Raspberry Pi has no battery for its clock: it starts with an old time
//! and is right only when the network has set it. Nothing here waits or asks anybody.

use std::fmt;
use std::path::Path;

/// Where systemd-timesyncd leaves `synchronized` after it has set the clock in this boot.
const TIMESYNC: &str = "/run/systemd/timesync";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeSync {
    /// The clock was set in this boot.
    Synchronized,
    Unsynchronized,
    /// There is no time service that tells.
    Unknown,
}

impl TimeSync {
    pub(crate) fn look() -> TimeSync {
        TimeSync::look_in(Path::new(TIMESYNC))
    }

    fn look_in(dir: &Path) -> TimeSync {
        match (dir.join("synchronized").exists(), dir.is_dir()) {
            (true, _) => TimeSync::Synchronized,
            (false, true) => TimeSync::Unsynchronized,
            (false, false) => TimeSync::Unknown,
        }
    }
}

/// As it stands in the record.
impl fmt::Display for TimeSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeSync::Synchronized => "synchronized",
            TimeSync::Unsynchronized => "unsynchronized",
            TimeSync::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_service_tells_by_its_files() {
        let dir = std::env::temp_dir().join(format!("agentpass-timesync-{}", std::process::id()));
        assert_eq!(TimeSync::look_in(&dir), TimeSync::Unknown);
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(TimeSync::look_in(&dir), TimeSync::Unsynchronized);
        std::fs::write(dir.join("synchronized"), "").unwrap();
        assert_eq!(TimeSync::look_in(&dir), TimeSync::Synchronized);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
