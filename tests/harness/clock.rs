//! A wall clock for the gateway that a test can set: the C library's `clock_gettime`, put in front of the real one
//! when the process is loaded. The program itself knows nothing of it.

use std::path::PathBuf;
use std::process::Command;

use super::Folder;

/// Adds the seconds that stand in a file to the wall clock, and leaves every other clock alone.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    const char *path = getenv("TEST_CLOCK");
    if (failed || clock != CLOCK_REALTIME || !path) return failed;
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
    close(file);
    return 0;
}
"#;

/// The clock. It goes right until it is [set](TestClock::shift).
pub struct TestClock {
    folder: Folder,
}

impl TestClock {
    /// Needs the C compiler that also builds SQLite.
    pub fn new() -> TestClock {
        let clock = TestClock { folder: Folder::new() };
        std::fs::write(clock.path("shim.c"), SHIM).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o", "shim.so", "shim.c"])
            .current_dir(&clock.folder.0)
            .status();
        assert!(built.unwrap().success());
        clock.shift(0);
        clock
    }

    /// From now on the wall clock is so many seconds ahead of the true time; behind it when negative.
    pub fn shift(&self, seconds: i64) {
        // In one step: a reader never sees half a number.
        std::fs::write(self.path("next"), seconds.to_string()).unwrap();
        std::fs::rename(self.path("next"), self.path("offset")).unwrap();
    }

    /// What the gateway's environment needs for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        vec![("LD_PRELOAD".into(), path("shim.so")), ("TEST_CLOCK".into(), path("offset"))]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }
}
