//! The channels in use: begun, told and ended here. The local one is always among them; the others come and go with
//! the configuration.
//!
//! A new kind of channel costs a variant of [`ChannelConfig`] with its section in the configuration, a file here that
//! implements [`Channel`], and a line in [`open`].

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use smol::LocalExecutor;
use smol::channel::{Receiver, Sender, bounded};

use super::api::ApiChannel;
use super::companion::Companion;
use super::local::LocalChannel;
use super::ntfy::Ntfy;
use super::push::{PushChannel, client};
use super::telegram::Telegram;
use super::webhook::Webhook;
use super::{Channel, ChannelHealth, Host, Misconfigured, Parting};
use crate::base::clock::Clock;
use crate::config::ChannelConfig;

/// The channel with this name and configuration. It does nothing before it is started.
///
/// # Errors
/// When the configuration cannot be used.
fn open(
    name: &str,
    config: &ChannelConfig,
    clock: &Clock,
    executor: &Rc<LocalExecutor<'static>>,
) -> Result<Rc<dyn Channel>, Misconfigured> {
    match config {
        ChannelConfig::Telegram(config) => {
            Ok(Rc::new(Telegram::new(name, config.clone(), clock.clone(), executor.clone())?))
        }
        ChannelConfig::Webhook(config) => {
            let client = client(name, &config.peer, None)?;
            let carrier = Webhook(config.clone());
            Ok(Rc::new(PushChannel::new(name, carrier, client, clock.clone(), executor.clone())))
        }
        ChannelConfig::Ntfy(config) => {
            let client = client(name, &config.peer, None)?;
            let carrier = Ntfy(config.clone());
            Ok(Rc::new(PushChannel::new(name, carrier, client, clock.clone(), executor.clone())))
        }
        ChannelConfig::Companion(config) => Ok(Rc::new(Companion::new(config, clock, executor)?)),
        ChannelConfig::Api(_) => Ok(Rc::new(ApiChannel::new(name))),
    }
}

/// The channels that the configuration asks for, by name.
pub(crate) struct WantedChannels(BTreeMap<String, (ChannelConfig, Rc<dyn Channel>)>);

impl WantedChannels {
    /// Whether it is this very channel that is asked for under its name.
    fn has(&self, channel: &Rc<dyn Channel>) -> bool {
        self.0.get(channel.name()).is_some_and(|(_, wanted)| Rc::ptr_eq(wanted, channel))
    }
}

/// Gives each channel, by its name, what it may ask of the gate.
type MakeHost = Box<dyn Fn(&str) -> Rc<dyn Host>>;

pub(crate) struct Channels {
    local: Rc<LocalChannel>,
    clock: Clock,
    executor: Rc<LocalExecutor<'static>>,
    wanted: RefCell<WantedChannels>,
    /// Those that have been started, the local one aside.
    started: RefCell<Vec<Rc<dyn Channel>>>,
    hosts: OnceCell<MakeHost>,
    reloaded: (Sender<()>, Receiver<()>),
}

impl Channels {
    /// Opens what the configuration asks for and tries each channel out. BLOCKS a few seconds at most.
    ///
    /// # Errors
    /// When a channel cannot work with its configuration.
    pub(crate) fn open(
        configs: &BTreeMap<String, ChannelConfig>,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Rc<Channels>, Misconfigured> {
        let channels = Channels {
            local: Rc::default(),
            clock,
            executor,
            wanted: RefCell::new(WantedChannels(BTreeMap::new())),
            started: RefCell::default(),
            hosts: OnceCell::new(),
            reloaded: bounded(1),
        };
        let wanted = channels.prepare(configs)?;
        wanted.0.values().try_for_each(|(_, channel)| channel.try_out())?;
        channels.wanted.replace(wanted);
        Ok(Rc::new(channels))
    }

    /// The channel of the control socket and the admin pages.
    pub(crate) fn local(&self) -> &Rc<LocalChannel> {
        &self.local
    }

    /// Starts all channels and takes up what a reload changes.
    pub(crate) fn start(self: &Rc<Self>, hosts: MakeHost) {
        let _ = self.hosts.set(hosts);
        self.begin_missing();
        let channels = self.clone();
        let take_up_reloads = async move {
            while channels.reloaded.1.recv().await.is_ok() {
                channels.end_unwanted().await;
                channels.begin_missing();
            }
        };
        self.executor.spawn(take_up_reloads).detach();
    }

    /// What a new configuration asks for. Channels whose configuration is the same are kept, unless they wait for this.
    ///
    /// # Errors
    /// When a channel cannot work with its configuration.
    pub(crate) fn prepare(
        &self,
        configs: &BTreeMap<String, ChannelConfig>,
    ) -> Result<WantedChannels, Misconfigured> {
        let earlier = self.wanted.borrow();
        let mut wanted = BTreeMap::new();
        for (name, config) in configs {
            let channel = match earlier.0.get(name).filter(|(known, _)| known == config) {
                Some((_, channel)) if !channel.is_off() => channel.clone(),
                _ => open(name, config, &self.clock, &self.executor)?,
            };
            wanted.insert(name.clone(), (config.clone(), channel));
        }
        Ok(WantedChannels(wanted))
    }

    /// Puts what [`Channels::prepare`] has made in place of the channels there are, as soon as those have ended. Nobody is
    /// heard any more on those that are not wanted, however long they take to end.
    pub(crate) fn reload(&self, wanted: WantedChannels) {
        self.wanted.replace(wanted);
        let wanted = self.wanted.borrow();
        self.started.borrow().iter().filter(|channel| !wanted.has(channel)).for_each(|gone| gone.silence());
        let _ = self.reloaded.0.try_send(());
    }

    /// Ends all channels; cards and open questions stay.
    pub(crate) async fn stop(&self) {
        self.reloaded.0.close();
        for channel in self.started.take() {
            channel.stop(Parting::Shutdown).await;
        }
    }

    /// Tells every channel something.
    pub(crate) fn tell(&self, tell: impl Fn(&dyn Channel)) {
        tell(&*self.local);
        self.started.borrow().iter().for_each(|channel| tell(&**channel));
    }

    pub(crate) fn health(&self) -> Vec<(String, ChannelHealth)> {
        let health = RefCell::new(Vec::new());
        self.tell(|channel| health.borrow_mut().push((channel.name().to_owned(), channel.health())));
        health.into_inner()
    }

    /// The channel with this name.
    pub(crate) fn named(&self, name: &str) -> Option<Rc<dyn Channel>> {
        if name == self.local.name() {
            return Some(self.local.clone());
        }
        self.started.borrow().iter().find(|channel| channel.name() == name).cloned()
    }

    /// A channel ends before another takes its name, and with it what was kept under that.
    async fn end_unwanted(&self) {
        while let Some((channel, next)) = self.take_unwanted() {
            let name = channel.name();
            match &next {
                Some(next) => {
                    log::info!("channel {name}: its configuration has changed");
                    channel.stop(Parting::Replaced(next)).await;
                }
                None => {
                    log::info!("channel {name}: nobody is asked through it any longer");
                    channel.stop(Parting::Removed).await;
                }
            }
        }
    }

    /// A started channel that is not wanted any more, and the configuration of the one that takes its name.
    fn take_unwanted(&self) -> Option<(Rc<dyn Channel>, Option<ChannelConfig>)> {
        let wanted = self.wanted.borrow();
        let mut started = self.started.borrow_mut();
        let at = started.iter().position(|channel| !wanted.has(channel))?;
        let channel = started.remove(at);
        let next = wanted.0.get(channel.name()).map(|(config, _)| config.clone());
        Some((channel, next))
    }

    /// Starts what is wanted and tells it the open questions.
    fn begin_missing(&self) {
        let Some(hosts) = self.hosts.get().filter(|_| !self.reloaded.0.is_closed()) else { return };
        for (name, (_, channel)) in &self.wanted.borrow().0 {
            if self.started.borrow().iter().any(|started| Rc::ptr_eq(started, channel)) {
                continue;
            }
            let host = hosts(name);
            channel.start(host.clone());
            self.started.borrow_mut().push(channel.clone());
            host.questions().iter().for_each(|question| channel.asked(question));
        }
    }
}
