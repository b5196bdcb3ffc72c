//! Packs the program's relative relocations if the C library can read them (glibc 2.36). OpenSSL alone has some 37,000
//! of them; unpacked, they are almost a megabyte that every start reads and every idle gateway keeps in memory.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Benchmarks print it with their figures.
    println!("cargo:rustc-env=AGENTPASS_OPT_LEVEL={}", env::var("OPT_LEVEL").unwrap_or_default());
    // The packages set it; no clock can be right that is before it.
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=AGENTPASS_BUILT={}", env::var("SOURCE_DATE_EPOCH").unwrap_or_default());
    if is_native_glibc() && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program is for this machine's own C library, the only one whose version is known here.
fn is_native_glibc() -> bool {
    let variable = |name| env::var(name).unwrap_or_default();
    variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
        && variable("HOST") == variable("TARGET")
}

/// The version that `getconf` prints as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
