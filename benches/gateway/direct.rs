//! The floor: the same call to the same service without a gateway in between, and an fsync without a record.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::http::Http;
use super::load::Timings;

const READ: &[u8] = b"GET /api/states/sensor.kitchen HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n";

/// `connections` clients that call the service one call after another.
pub fn calls(service: SocketAddr, connections: usize, time: Duration) -> Timings {
    let open = |_| Http::over(TcpStream::connect(service).unwrap());
    let connected: Vec<_> = (0..connections).map(open).collect();
    let (began, end) = (Instant::now(), Instant::now() + time);
    let clients: Vec<_> =
        connected.into_iter().map(|http| thread::spawn(move || client(http, end))).collect();
    let latencies = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    Timings::new(latencies, began.elapsed())
}

fn client(mut http: Http, end: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut sent = Instant::now();
    while sent < end {
        http.write(READ).unwrap();
        http.read().expect("an answer");
        let now = Instant::now();
        latencies.push(now - sent);
        sent = now;
    }
    latencies
}

/// A new connection for every call.
pub fn connections(service: SocketAddr, time: Duration) -> Timings {
    let began = Instant::now();
    let mut latencies = Vec::new();
    while began.elapsed() < time {
        let sent = Instant::now();
        let mut http = Http::over(TcpStream::connect(service).unwrap());
        http.write(READ).unwrap();
        http.read().expect("an answer");
        latencies.push(sent.elapsed());
    }
    Timings::new(latencies, began.elapsed())
}

/// Appends of 4 KiB that wait for the disk, as a commit does at the least.
pub fn syncs(folder: &Path, time: Duration) -> Timings {
    let path = folder.join(format!("sync-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let began = Instant::now();
    let mut latencies = Vec::new();
    while began.elapsed() < time {
        let sent = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        latencies.push(sent.elapsed());
    }
    std::fs::remove_file(path).unwrap();
    Timings::new(latencies, began.elapsed())
}
