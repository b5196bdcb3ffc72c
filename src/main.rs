//! The thin binary: everything is in the library.

/// What our own code allocates; OpenSSL and SQLite stay with the C library. See benches/memory.md, "What comes back".
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    agentpass::run(std::env::args_os())
}
