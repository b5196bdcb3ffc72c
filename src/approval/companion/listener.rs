//! The connection on which Home Assistant tells of taps (its WebSocket API, `mobile_app_notification_action`). It is made
//! again whenever it is lost; what is tapped meanwhile is never told.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::{Timer, future};

use super::tap::{self, Tap};
use crate::approval::Host;
use crate::approval::claims::check_name;
use crate::base::backoff::{doubled, jitter};
use crate::base::once_flag::OnceFlag;
use crate::base::secret::TokenHash;
use crate::base::url::Url;
use crate::config::CompanionConfig;
use crate::net::connect::{ClientSocket, Trust, connect_to_service};
use crate::net::deadline::within;
use crate::net::ws::{WRITE_DEADLINE, WsIncoming};

const EVENT: &str = "mobile_app_notification_action";
/// The largest message, in bytes. We subscribe to nothing that is long.
const MAX_MESSAGE: usize = 1 << 20;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often we ask whether the other side is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
/// The numbers of our commands on a connection, which must rise.
const SUBSCRIBE: u64 = 1;

pub(super) struct Listener {
    config: CompanionConfig,
    /// Why taps are not heard; None while they are.
    trouble: RefCell<Option<String>>,
    stop: OnceFlag,
}

impl Listener {
    pub(super) fn new(config: CompanionConfig) -> Listener {
        Listener {
            config,
            trouble: RefCell::new(Some("not connected yet".to_owned())),
            stop: OnceFlag::default(),
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// From now on no tap counts.
    pub(super) fn stop(&self) {
        self.stop.set();
    }

    /// Listens until it is stopped. `begun` is called whenever listening begins.
    pub(super) async fn run(&self, host: Rc<dyn Host>, begun: impl Fn(&dyn Host)) {
        future::or(self.keep_on(&host, &begun), self.stop.wait()).await;
    }

    async fn keep_on(&self, host: &Rc<dyn Host>, begun: &impl Fn(&dyn Host)) {
        let mut failures = 0;
        loop {
            let why = match self.open().await {
                Ok(socket) => {
                    let since = Instant::now();
                    self.trouble.replace(None);
                    log::info!("channel {}: taps are heard", self.config.name);
                    begun(&**host);
                    let why = self.listen(socket, host).await;
                    // One that ends at once is no better than none: phones are shown the questions again for each.
                    if since.elapsed() >= LONGEST_PAUSE {
                        failures = 0;
                    }
                    why
                }
                Err(why) => why,
            };
            log::warn!("channel {}: taps are not heard: {why}", self.config.name);
            self.trouble.replace(Some(why));
            let pause = doubled(FIRST_PAUSE, failures, LONGEST_PAUSE);
            failures = failures.saturating_add(1);
            Timer::after(pause + jitter(pause / 10)).await;
        }
    }

    /// Connects, signs in and subscribes.
    async fn open(&self) -> Result<ClientSocket, String> {
        let config = &self.config;
        let address = config.peer.url.as_str().replacen("http", "ws", 1);
        let url = Url::gateway(&format!("{address}/api/websocket")).map_err(str::to_owned)?;
        let trust = match (config.pin, &config.peer.ca_cert) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(pem)) => Trust::CaFile(pem.clone()),
            (None, None) => Trust::System,
        };
        let limit = config.peer.timeout;
        let socket = connect_to_service(&url, &trust, limit, MAX_MESSAGE, config.peer.allow_link_local)
            .await
            .map_err(|e| e.to_string())?;
        let signed_in = within(limit, self.sign_in(socket)).await;
        signed_in.unwrap_or_else(|| Err("Home Assistant did not answer in time".to_owned()))
    }

    async fn sign_in(&self, mut socket: ClientSocket) -> Result<ClientSocket, String> {
        loop {
            let message = receive(&mut socket).await?;
            match message.get("type").and_then(Value::as_str) {
                Some("auth_required") => {
                    let token = self.config.token.expose();
                    send(&mut socket, &json!({"type": "auth", "access_token": token})).await?;
                }
                Some("auth_ok") => {
                    let subscribe = json!({"id": SUBSCRIBE, "type": "subscribe_events", "event_type": EVENT});
                    send(&mut socket, &subscribe).await?;
                }
                Some("auth_invalid") => {
                    return Err("Home Assistant does not take the service's token".to_owned());
                }
                Some("result") if message.get("success") == Some(&Value::Bool(true)) => return Ok(socket),
                Some("result") => {
                    return Err("the token's user must be an administrator to hear of taps".to_owned());
                }
                _ => {}
            }
        }
    }

    /// Why it ended.
    async fn listen(&self, mut socket: ClientSocket, host: &Rc<dyn Host>) -> String {
        let mut number = SUBSCRIBE;
        let mut is_asked = false;
        loop {
            let quiet = async {
                Timer::after(PING).await;
                None
            };
            let heard = async { Some(receive(&mut socket).await) };
            match future::or(heard, quiet).await {
                Some(Ok(message)) => {
                    is_asked = false;
                    self.heard(&message, host).await;
                }
                Some(Err(why)) => return why,
                None if is_asked => return "Home Assistant is silent".to_owned(),
                None => {
                    number += 1;
                    is_asked = true;
                    if let Err(why) = send(&mut socket, &json!({"id": number, "type": "ping"})).await {
                        return why;
                    }
                }
            }
        }
    }

    async fn heard(&self, message: &Value, host: &Rc<dyn Host>) {
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        if text("/event/event_type") != Some(EVENT) {
            return;
        }
        let action = text("/event/data/action").unwrap_or_default();
        let Some(tap) = tap::read(&self.config.name, action) else { return };
        // The app's registration says whose phone it is; what an automation fires has nobody.
        match text("/event/context/user_id").filter(|user| check_name(user).is_ok()) {
            Some(user) => self.answer(tap, user, &**host).await,
            None => log::warn!("channel {}: a tap by nobody does not count", self.config.name),
        }
    }

    async fn answer(&self, tap: Tap, user: &str, host: &dyn Host) {
        let name = &self.config.name;
        let question = host.questions().into_iter().find(|question| question.id == tap.id);
        let Some(question) = question else {
            log::info!("channel {name}: a tap on {} comes too late", tap.id);
            return;
        };
        // It is bound to the call as it was shown: once that is changed, earlier buttons say nothing.
        let right = host.answer_token(&self.config.identity, &question);
        let given = TokenHash::new(tap.token.expose());
        if !right.is_some_and(|right| given.matches(&TokenHash::new(right.expose()))) {
            log::warn!("channel {name}: a tap on {} without its token does not count", tap.id);
            return;
        }
        let choice = tap.button.choice().seen_as(Some(question.call.shown_as()));
        match host.answer(tap.id, choice, user.to_owned()).await {
            Ok(outcome) => log::info!("channel {name}: a tap on {}: {}", tap.id, outcome.as_str()),
            Err(_) => log::warn!("channel {name}: a tap on {} could not be recorded", tap.id),
        }
    }
}

async fn receive(socket: &mut ClientSocket) -> Result<Value, String> {
    loop {
        match socket.next().await {
            WsIncoming::Text(text) => {
                let message = serde_json::from_str(&text);
                return message.map_err(|_| "the other side is not Home Assistant".to_owned());
            }
            WsIncoming::Ping | WsIncoming::Pong(_) => {}
            WsIncoming::Closed => return Err("the connection was closed".to_owned()),
            WsIncoming::TooLarge
            | WsIncoming::Binary
            | WsIncoming::BadUtf8
            | WsIncoming::ProtocolError(_) => return Err("the other side is not Home Assistant".to_owned()),
        }
    }
}

async fn send(socket: &mut ClientSocket, message: &Value) -> Result<(), String> {
    let sent = socket.send_text_batch([message.to_string()], None, WRITE_DEADLINE).await;
    sent.map_err(|e| e.to_string())
}
