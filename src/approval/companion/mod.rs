//! Home Assistant's companion app: questions as notifications on phones, with buttons. Each phone has a queue of its own,
//! so that one which cannot be told holds up no other; what is tapped comes back over one connection.
//!
//! | file | what it is |
//! |---|---|
//! | `phone` | how news of a question looks on a phone |
//! | `tap` | what a button says (pure) |
//! | `listener` | the connection on which Home Assistant tells of taps |

mod listener;
mod phone;
mod tap;

use std::rc::Rc;
use std::sync::Arc;

use smol::LocalExecutor;

use super::push::{PushChannel, client};
use super::{Channel, ChannelHealth, Host, Later, Misconfigured, Parting};
use crate::base::clock::Clock;
use crate::config::CompanionConfig;
use crate::model::{Outcome, Question, QuestionEnd};
use listener::Listener;
use phone::Phone;

pub(crate) struct Companion {
    name: String,
    phones: Rc<Vec<PushChannel<Phone>>>,
    listener: Rc<Listener>,
    executor: Rc<LocalExecutor<'static>>,
}

impl Companion {
    /// # Errors
    /// When the service's certificates cannot be used.
    pub(crate) fn new(
        config: &CompanionConfig,
        clock: &Clock,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Result<Companion, Misconfigured> {
        let phone = |notify: &String| {
            let carrier = Phone { config: config.clone(), notify: notify.clone() };
            Ok(PushChannel::new(
                &config.name,
                carrier,
                client(&config.name, &config.peer, config.pin)?,
                clock.clone(),
                executor.clone(),
            ))
        };
        let phones = config.notify.iter().map(phone).collect::<Result<Vec<_>, Misconfigured>>()?;
        Ok(Companion {
            name: config.name.clone(),
            phones: Rc::new(phones),
            listener: Rc::new(Listener::new(config.clone())),
            executor: executor.clone(),
        })
    }
}

impl Channel for Companion {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, host: Rc<dyn Host>) {
        self.phones.iter().for_each(|phone| phone.start(host.clone()));
        let (listener, phones) = (self.listener.clone(), self.phones.clone());
        let listen = async move {
            // What was tapped while nobody listened is lost: the buttons are shown again.
            let again = |host: &dyn Host| phones.iter().for_each(|phone| phone.show_again(host));
            listener.run(host, again).await;
        };
        self.executor.spawn(listen).detach();
    }

    fn asked(&self, question: &Arc<Question>) {
        self.phones.iter().for_each(|phone| phone.asked(question));
    }

    fn edited(&self, question: &Arc<Question>) {
        self.phones.iter().for_each(|phone| phone.edited(question));
    }

    fn settled(&self, question: &Arc<Question>, end: &QuestionEnd) {
        self.phones.iter().for_each(|phone| phone.settled(question, end));
    }

    fn finished(&self, question: &Arc<Question>, outcome: &Outcome) {
        self.phones.iter().for_each(|phone| phone.finished(question, outcome));
    }

    fn notice(&self, text: &str) {
        self.phones.iter().for_each(|phone| phone.notice(text));
    }

    /// As bad as the worst of its phones, and down where no tap would be heard.
    fn health(&self) -> ChannelHealth {
        let all = self.phones.iter().map(Channel::health);
        let worst = all.reduce(|one, other| {
            let waiting = one.waiting + other.waiting;
            ChannelHealth { waiting, ..if one.up { other } else { one } }
        });
        let worst = worst.unwrap_or_else(|| ChannelHealth {
            kind: "homeassistant",
            pushes: true,
            up: false,
            since: None,
            waiting: 0,
            detail: String::new(),
        });
        match self.listener.trouble() {
            Some(why) => ChannelHealth { up: false, detail: format!("hears of no taps: {why}"), ..worst },
            None => worst,
        }
    }

    fn test(&self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            for phone in self.phones.iter() {
                phone.test().await?;
            }
            match self.listener.trouble() {
                Some(why) => Err(format!("the phones are told, but taps are not heard: {why}")),
                None => Ok(format!("{} told, and taps are heard", self.phones.len())),
            }
        })
    }

    fn silence(&self) {
        self.listener.stop();
        self.phones.iter().for_each(Channel::silence);
    }

    fn stop<'a>(&'a self, parting: Parting<'a>) -> Later<'a, ()> {
        Box::pin(async move {
            self.listener.stop();
            for phone in self.phones.iter() {
                phone.stop(parting).await;
            }
        })
    }
}
