//! Random numbers that a seed repeats.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    /// From `SEED`, to repeat a failure, or `default`.
    pub fn new(default: u64) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
        Self { seed, state: seed }
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % limit
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}
