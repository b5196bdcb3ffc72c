//! One HTTP connection of MCP clients. Every request says who asks; results count as received when the next request comes,
//! or the client ends the connection in order.

use std::cell::RefCell;
use std::rc::Rc;

use smol::future;

use super::client::{AnswerRoom, Client, Transit};
use super::{Mcp, http, legacy, modern};

use crate::base::once_flag::OnceFlag;
use crate::base::safe_text::visible;
use crate::base::secret::TokenHash;
use crate::net::front::{WebAnswer, WebRequest};
use crate::protocol::mcp::era;
use crate::protocol::mcp::message::{self, Incoming, Message};
use crate::surface::agent::{AgentHandle, Stranger};
use crate::surface::hosts::{Hosts, machine_name};

/// Where the clients of this protocol ask.
const PATH: &str = "/mcp";
/// Where clients look for a way to sign in. There is none here, and saying so at once keeps them from asking again.
const WELL_KNOWN: &str = "/.well-known/";

pub(crate) struct McpConnection<'s> {
    mcp: Rc<Mcp>,
    stranger: &'s Stranger,
    /// Set when a request has authenticated.
    pub admitted: OnceFlag,
    agent: RefCell<Option<(TokenHash, Rc<AgentHandle>)>>,
    /// Set when the next agent has been identified.
    identified: RefCell<Rc<OnceFlag>>,
    transit: Rc<Transit>,
}

impl<'s> McpConnection<'s> {
    pub(crate) fn new(mcp: &Rc<Mcp>, stranger: &'s Stranger) -> McpConnection<'s> {
        let (admitted, agent, identified, transit) = Default::default();
        McpConnection { mcp: mcp.clone(), stranger, admitted, agent, identified, transit }
    }

    /// The connection has ended; in order or not.
    pub(crate) fn ended(&self, in_order: bool) {
        if in_order {
            self.transit.arrived();
        }
    }

    /// Waits until the connection has to end, because its answers are not read.
    pub(crate) async fn must_leave(&self) {
        loop {
            let (next, agent) = (self.identified.borrow().clone(), self.agent.borrow().clone());
            let evicted = async {
                match &agent {
                    Some((_, agent)) => agent.connection.evicted.wait().await,
                    None => future::pending().await,
                }
                true
            };
            let another = async {
                next.wait().await;
                false
            };
            if future::or(evicted, another).await {
                return;
            }
        }
    }

    /// Answers a request, or gives back one that is none of ours.
    ///
    /// # Errors
    /// The request.
    pub(crate) async fn answer(&self, request: WebRequest) -> Result<WebAnswer, WebRequest> {
        if request.path.starts_with(WELL_KNOWN) {
            return Ok(WebAnswer::text(404, "not found").with("connection", "close"));
        }
        if request.path != PATH {
            return Err(request);
        }
        Ok(match self.identify(&request) {
            Ok(agent) => self.respond(agent, request).await,
            Err(refusal) => http::refusal(refusal).with("connection", "close"),
        })
    }

    async fn respond(&self, agent: Rc<AgentHandle>, request: WebRequest) -> WebAnswer {
        self.transit.arrived();
        let room = Rc::<AnswerRoom>::default();
        self.serve(agent, request, &room).await.keeping(room)
    }

    async fn serve(
        &self,
        agent: Rc<AgentHandle>,
        mut request: WebRequest,
        room: &Rc<AnswerRoom>,
    ) -> WebAnswer {
        let streams = request.header("accept").contains("text/event-stream");
        let client = |is_modern| Client {
            mcp: self.mcp.clone(),
            agent: agent.clone(),
            transit: self.transit.clone(),
            is_modern,
            streams,
            room: room.clone(),
        };
        match request.method() {
            "POST" => {}
            "DELETE" => return legacy::end_session(&client(false), &request),
            "GET" => return legacy::listen(&client(false), &request),
            _ => return WebAnswer::text(405, "use POST").with("allow", "POST, GET, DELETE"),
        }
        let max = agent.gate().setup().config.gateway.max_message_bytes;
        let read = request.read_body(max).await;
        match read.map(|()| message::read(&request.body)) {
            None => WebAnswer::text(413, "the body is too large or incomplete").with("connection", "close"),
            Some(Err(failure)) => http::failure(&failure, None),
            Some(Ok(Incoming::Reply)) => http::accepted(),
            Some(Ok(Incoming::Message(message))) => {
                request.body = Vec::new();
                match is_modern(&request, &message) {
                    true => modern::answer(client(true), &request, message).await,
                    false => legacy::answer(client(false), &request, message).await,
                }
            }
        }
    }

    /// Who asks.
    fn identify(&self, request: &WebRequest) -> Result<Rc<AgentHandle>, WebAnswer> {
        let agents = &self.mcp.agents;
        self.is_ours(request)?;
        let unknown = || WebAnswer::text(401, "send the agent's token").with("www-authenticate", "Bearer");
        let identity = agents.identify(self.stranger, request, is_on_this_machine)?.ok_or_else(unknown)?;
        self.admitted.set();
        self.stranger.admit_requests();
        let known = self.agent.borrow().clone();
        if let Some((token, agent)) = known
            && token.matches(&identity.token)
            && *agent.id() == identity.agent
        {
            return Ok(agent);
        }
        let token = identity.token;
        let crowded = || WebAnswer::text(503, "too many connections of this agent").with("retry-after", "1");
        let agent = Rc::new(agents.connect(identity).ok_or_else(crowded)?);
        self.agent.replace(Some((token, agent.clone())));
        self.identified.replace(Rc::default()).set();
        Ok(agent)
    }

    /// A page that has a name of its own lead here must not get through with a browser's help.
    fn is_ours(&self, request: &WebRequest) -> Result<(), WebAnswer> {
        let setup = self.mcp.agents.gate.setup();
        let hosts = Hosts::new(&[([0, 0, 0, 0], 0).into()], &machine_name(), &setup.config.gateway.hosts);
        let host = request.header("host");
        if hosts.knows(host) {
            return Ok(());
        }
        log::warn!("refused an MCP request for the host {:?}: list it in gateway.hosts", visible(host));
        Err(WebAnswer::text(403, "this is not one of the gateway's names; list it in gateway.hosts"))
    }
}

/// Whether a page comes from the machine that its browser runs on, as developers' tools do. Its name cannot be faked.
fn is_on_this_machine(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| Hosts::new(&[], "", &[]).knows(host))
}

fn is_modern(request: &WebRequest, message: &Message) -> bool {
    let header = request.header(era::VERSION_HEADER);
    message.meta(era::META_VERSION).is_some() || !(header.is_empty() || era::is_legacy(header))
}
