//! How much memory a child and all that came of it have.

use std::fs;

const PAGE: u64 = 4096;
/// More processes than this are not counted.
const MOST: usize = 1000;

/// The resident memory of all processes below the guard with this number, in bytes.
pub(in crate::service) fn resident(guard: u32) -> u64 {
    let (mut open, mut total) = (children(guard), 0_u64);
    let mut count = 0;
    while let Some(pid) = open.pop().filter(|_| count < MOST) {
        count += 1;
        total = total.saturating_add(of_one(pid).unwrap_or_default());
        open.extend(children(pid));
    }
    total
}

fn of_one(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()?.saturating_mul(PAGE))
}

/// Those of all of its threads.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    texts
        .flat_map(|text| text.split(' ').filter_map(|pid| pid.trim().parse().ok()).collect::<Vec<_>>())
        .collect()
}
