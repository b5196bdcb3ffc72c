//! `/kill` and `/resume`.

use super::conversation::Conversation;
use super::stop_button::StopButton;
use super::updates::Person;
use crate::approval::Host;
use crate::base::clock::Timestamp;
use crate::base::safe_text::visible;
use crate::model::AgentId;

/// The most agents that are named to somebody who has named another.
const MAX_NAMED: usize = 15;

impl Conversation {
    /// Asks once more before everything, or one agent, is stopped.
    pub(super) fn ask_to_stop(&self, agent: Option<&str>, message: i64, host: &dyn Host) {
        match named(agent, host) {
            Ok(agent) => {
                self.state.borrow_mut().queue.ask_to_stop(message, agent);
                self.wake();
            }
            Err(answer) => self.say(Some(message), answer),
        }
    }

    /// Somebody has tapped the button. What they are told.
    pub(super) async fn tapped_stop(
        &self,
        by: &Person,
        button: StopButton,
        message: i64,
        host: &dyn Host,
    ) -> String {
        self.meet(by).await;
        let told = match button.scope(host.agents()) {
            _ if !button.counts(self.clock.now()) => {
                "Not stopped: this button is too old. Send /kill again.".to_owned()
            }
            None => "Not stopped: there is no such agent any more.".to_owned(),
            Some(agent) => host.stop_calls(agent, by.id.to_string()).await,
        };
        self.rewrite(message, format!("🛑 {told}"));
        told
    }

    /// `sent`: when the person wrote it, as far as that is known.
    pub(super) async fn resume_calls(
        &self,
        by: &Person,
        agent: Option<&str>,
        (message, sent): (i64, Option<Timestamp>),
        host: &dyn Host,
    ) {
        let answer = match named(agent, host) {
            Ok(agent) => host.resume_calls(agent, by.id.to_string(), sent).await,
            Err(answer) => answer,
        };
        self.say(Some(message), answer);
    }
}

/// The agent of this name, in whatever case a phone has written it.
fn named(agent: Option<&str>, host: &dyn Host) -> Result<Option<AgentId>, String> {
    let Some(name) = agent else { return Ok(None) };
    let agents = host.agents();
    if let Some(agent) = agents.iter().find(|agent| agent.as_str() == name) {
        return Ok(Some(agent.clone()));
    }
    let mut alike = agents.iter().filter(|agent| agent.as_str().eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some(agent), None) => Ok(Some(agent.clone())),
        _ => {
            let names = agents.iter().take(MAX_NAMED).map(|agent| visible(agent.as_str()));
            let names = names.collect::<Vec<_>>().join(", ");
            Err(format!("There is no such agent. Agents: {names}"))
        }
    }
}
