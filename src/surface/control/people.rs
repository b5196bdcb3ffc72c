//! Names of users and groups on this machine, from `/etc/passwd` and `/etc/group`.

use std::os::fd::AsFd;

use crate::model::Responder;

/// Who is at the other end of a unix socket, by the kernel's word: `local:root`, or `local:1000` for a user without a
/// name. The process id is not recorded, because it may belong to another process by now.
pub(crate) fn responder(stream: &impl AsFd) -> Responder {
    let user = match rustix::net::sockopt::socket_peercred(stream.as_fd()) {
        Ok(peer) => user_name(peer.uid.as_raw()),
        Err(_) => "unknown".to_owned(),
    };
    Responder::new("local", &user)
}

/// What the machine's administrator is called here.
pub(crate) fn root() -> String {
    Responder::new("local", &user_name(0)).as_str().to_owned()
}

/// The user whom this process belongs to.
pub(crate) fn this_user() -> Responder {
    Responder::new("local", &user_name(rustix::process::getuid().as_raw()))
}

fn user_name(uid: u32) -> String {
    let file = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&file, uid).unwrap_or_else(|| uid.to_string())
}

/// The name in column 1 of the line whose column 3 is `id`.
fn named(file: &str, id: u32) -> Option<String> {
    let line = file.lines().find(|line| column(line, 2) == Some(id.to_string().as_str()))?;
    column(line, 0).map(str::to_owned)
}

pub(crate) fn group_id(name: &str) -> Option<u32> {
    let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let line = file.lines().find(|line| column(line, 0) == Some(name))?;
    column(line, 2)?.parse().ok()
}

fn column(line: &str, index: usize) -> Option<&str> {
    line.split(':').nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names() {
        let file = "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n";
        assert_eq!(named(file, 1000).as_deref(), Some("pi"));
        assert_eq!(named(file, 100), None);
        assert_eq!(named("broken", 0), None);
    }
}
