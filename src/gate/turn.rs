//! Waiting for one of the places for calls at once, without losing sight of the owner: whoever waits looks again at
//! every reload, and once more when its turn has come.

use std::time::Instant;

use smol::{Timer, future};

use super::{Gate, Setup};
use crate::model::Call;
use crate::service::CallSlot;

/// Why a call gets no place.
pub(super) enum NoPlace<E> {
    /// What it waited for was not its turn any more: a reload came between.
    Overtaken(E),
    /// Too many calls are running, for as long as this one may take.
    Busy,
}

/// What ended a wait.
enum Woken {
    Turn(CallSlot),
    Late,
    Reloaded,
}

impl Gate {
    /// Waits for a place for `call`, at most as long as the call may take. `look` sees the setup in force before the
    /// wait, after every reload, and last of all when the place is there: nothing happens between that look and the return
    /// with what it saw.
    pub(super) async fn turn<T, E>(
        &self,
        call: &Call,
        look: impl Fn(&Setup) -> Result<T, E>,
    ) -> Result<(CallSlot, T), NoPlace<E>> {
        let turn = self.places.line_up(call.agent(), &call.tool().service);
        let (began, mut held) = (Instant::now(), None);
        loop {
            let (setup, reloaded) = (self.setup(), self.reloaded());
            let seen = look(&setup).map_err(NoPlace::Overtaken)?;
            if let Some(place) = held {
                return Ok((place, seen));
            }
            let left = setup.services.limit(call).saturating_sub(began.elapsed());
            let come = async { turn.recv().await.map_or(Woken::Late, Woken::Turn) };
            let late = async {
                Timer::after(left).await;
                Woken::Late
            };
            let overtaken = async {
                reloaded.wait().await;
                Woken::Reloaded
            };
            held = match future::or(come, future::or(overtaken, late)).await {
                Woken::Turn(place) => Some(place),
                Woken::Reloaded => None,
                Woken::Late => return Err(NoPlace::Busy),
            };
        }
    }
}
