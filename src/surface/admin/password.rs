//! Checking the admin password: one at a time, a few waiting, and longer pauses after wrong ones.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::channel::bounded;
use smol::lock::Mutex;

use super::backoff::PasswordBackoff;
use crate::base::password::PasswordHash;
use crate::base::secret::Secret;
use crate::base::slots::Slots;
use crate::gate::Executor;

/// Passwords that may wait while one is checked.
const MAX_WAITING: usize = 4;

#[derive(Default)]
pub(crate) struct PasswordGuard {
    backoff: PasswordBackoff,
    one: Mutex<()>,
    waiting: Slots,
}

/// Why a password was not taken.
pub(super) enum PasswordError {
    Wrong,
    Wait(Duration),
}

impl PasswordGuard {
    pub(super) async fn check(
        self: &Rc<Self>,
        executor: &Executor,
        from: IpAddr,
        hash: PasswordHash,
        password: Secret,
    ) -> Result<(), PasswordError> {
        self.must_not_wait(from)?;
        let slot = self.waiting.take(MAX_WAITING).ok_or(PasswordError::Wait(Duration::from_secs(1)))?;
        let (answer, answered) = bounded(1);
        let guard = self.clone();
        // In a task of its own: work that has begun goes on when the browser leaves, so it must count until it ends.
        let task = async move {
            let _ = answer.try_send(guard.one_at_a_time(from, hash, password).await);
            drop(slot);
        };
        executor.spawn(task).detach();
        answered.recv().await.unwrap_or(Err(PasswordError::Wrong))
    }

    async fn one_at_a_time(
        &self,
        from: IpAddr,
        hash: PasswordHash,
        password: Secret,
    ) -> Result<(), PasswordError> {
        let _turn = self.one.lock().await;
        // Those who were wrong while this one waited may have been from here.
        self.must_not_wait(from)?;
        log::debug!("admin sign-in from {from}: looking at a password");
        if smol::unblock(move || hash.matches(&password)).await {
            self.backoff.right(from);
            return Ok(());
        }
        self.backoff.wrong(from, Instant::now());
        Err(PasswordError::Wrong)
    }

    fn must_not_wait(&self, from: IpAddr) -> Result<(), PasswordError> {
        self.backoff.wait(from, Instant::now()).map_or(Ok(()), |time| Err(PasswordError::Wait(time)))
    }
}
