//! What tests and benches reach of the inside, by the path it has there. Everything else is seen by the crate alone, so
//! that the compiler reports what nothing uses.

pub mod base {
    pub mod clock {
        pub use crate::base::clock::{Clock, Timestamp};
    }
    pub mod decimal {
        pub use crate::base::decimal::{Decimal, NotADecimal};
    }
    pub mod digest {
        pub use crate::base::digest::Digest;
    }
    pub mod domain {
        pub use crate::base::domain::Domain;
    }
    pub mod glob {
        pub use crate::base::glob::Pattern;
    }
    pub mod ids {
        pub use crate::base::ids::RequestId;
    }
    pub mod json {
        pub use crate::base::json::{MAX_VALUES, parse_strict};
    }
    pub mod secret {
        pub use crate::base::secret::{Secret, TokenHash};
    }
    pub mod template {
        pub use crate::base::template::Template;
    }
    pub mod url {
        pub use crate::base::url::Url;
    }
    pub mod whole_regex {
        pub use crate::base::whole_regex::WholeRegex;
    }
    pub mod zone {
        pub use crate::base::zone::Zone;
    }
}

pub mod config {
    pub use crate::config::{
        Auth, ChannelConfig, Config, CoolDown, ErrorMapping, Finding, Health, HttpService, Loaded, Login,
        LoginRequest, McpService, Paths, PermitService, ServiceConfig, Severity, Surroundings, SyncMode,
        Take, load, load_in, local,
    };
}

pub mod daemon {
    pub use crate::daemon::{Gateway, Options, check};
}

pub mod gate {
    pub use crate::gate::{CounterBook, Executor, Gate, Memory, Metrics, Reservation, Setup};
}

pub mod model {
    pub use crate::model::{
        Action, AgentId, Amount, AnswerOutcome, Approval, Approver, ArgPath, ArgSpec, ArgType, AskReason,
        AskTerms, AskedCall, AskedPart, Bound, Bounds, Call, Charge, Charging, Charset, Choice, Condition,
        Counted, CounterId, CounterKey, Cover, DataFacts, DataPolicy, Denial, DenialReason, Encoding,
        Escalation, Flow, Grant, GrantEnd, GrantOffer, GrantRule, GrantScope, GrantSession, GrantUse,
        GrantWish, HttpTarget, InvalidCall, Kind, Limit, Lost, Matcher, McpTarget, Method, Outcome, Output,
        Part, PathStep, People, PeopleTerms, Per, Permit, QuestionEnd, Reading, Reason, Remember,
        RequestSpec, Responder, ResponseSpec, Risk, Rule, RuleList, RuleRef, SessionNumber, Source, Stop,
        Tally, Target, Terms, Test, TimeWindow, Tool, ToolFacts, Truth, Verdict, Void, Weekday, Why, Window,
    };
    pub mod call {
        pub use crate::model::invalid_call::{MAX_ARGS, MAX_SIGNATURE, MAX_STRING};
    }
    pub mod response {
        pub use crate::model::http::response::{Follow, Success};
    }
}

pub mod net {
    pub mod client {
        pub use crate::net::client::{
            HttpClient, HttpError, HttpOptions, HttpRequest, HttpResponse, MaybeSent, NotSent,
        };
    }
    pub mod connect {
        pub use crate::net::connect::{ConnectError, Trust, connect};
    }
    pub mod deadline {
        pub use crate::net::deadline::within;
    }
    pub mod listener {
        pub use crate::net::listener::{BindError, Listener};
    }
    pub mod stream {
        pub use crate::net::stream::Stream;
    }
    pub mod tls {
        pub use crate::net::tls::{Acceptor, SelfSigned, TlsError, self_signed, spki_pin_of_pem};
    }
    pub mod front {
        pub use crate::net::front::{UpgradeError, WebAnswer, WebRequest, WsLimits, serve_upgrade};
    }
    pub mod ws {
        pub use crate::net::ws::{MAX_PINGS, SendError, WRITE_DEADLINE, WebSocket, WsIncoming};
    }
}

pub mod policy {
    pub use crate::policy::{Counters, Facts, Grants, NothingCounted, NothingGranted, Policy, PolicyParts};
}

pub mod protocol {
    pub mod frame {
        pub use crate::protocol::frame::{
            Frame, MAX_BATCH, MAX_DEPTH, RpcRequest, notification, parse, result,
        };
    }
    pub mod params {
        pub use crate::protocol::params::{MAX_KEY, MAX_REASON, MAX_TOOL, ToolRequest, auth, tool_request};
    }
}

pub mod service {
    pub use crate::service::{Attempt, CallSlot, CallSlots, Scrubber, ServiceHealth, Services, SlotShares};
    pub mod request {
        pub use crate::service::http::request::build;
    }
    pub mod response {
        pub use crate::service::http::response::outcome;
    }
}

pub mod store {
    pub use crate::store::{
        Claim, KeptCounter, KeptGrant, LimitReset, LiveSession, LiveSessions, NewCall, NoteKind, Recovered,
        RefusedRequest, Replay, SessionCall, Stage, Store, StoreError, StoreOptions, Yes, rebuild,
    };
    pub mod reader {
        pub use crate::store::reader::{
            Anchor, Anchored, FaultKind, Filter, Lookup, Reader, Verification, WantedPage, verify_export,
        };
    }
}
