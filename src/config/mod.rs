//! Rank 2: the owner's YAML files to the model.
//!
//! config.yaml, permissions.yaml and the tool files are read, checked and turned into [`Config`] and
//! [`permissions::Permissions`], or into [`Finding`]s with file, line, column and remedy. All files are checked before
//! giving up. A key that nobody knows, a key given twice and a value out of range are errors, never ignored.
//!
//! | file | reads |
//! |---|---|
//! | `tree`, `doc`, `at` | YAML; one file with its findings; one value and the readers of values |
//! | `main_file`, `people`, `proxy`, `channels`, `pushed`, `companion`, `ntfy`, `messenger`, `services`, `mcp`, `peer`, `login` | config.yaml |
//! | `tool_files`, `tool`, `mcp_tool`, `facts`, `argument`, `request`, `body`, `response` | tool files |
//! | `permissions`, `matcher`, `conditions`, `terms`, `limits`, `flows` | permissions.yaml |
//! | `lint`, `known`, `met`, `reach`, `doubts`, `limit_advice`, `data_words` | advice on what stands there |
//! | `cases` | tests files of policies |
//! | `variables`, `source` | `${NAME}`; files |
//! | `settings`, `channel_settings`, `mcp_settings` | nothing: they are what becomes of config.yaml |
//!
//! Nothing here waits, logs, opens a socket or writes a file. Only `tree` touches `serde_yaml`.

mod argument;
mod at;
mod body;
mod cases;
mod channel_settings;
mod channels;
mod companion;
mod conditions;
mod constant;
mod credential;
mod data_words;
mod doc;
mod doubts;
mod facts;
mod finding;
mod flows;
mod grants;
mod http;
mod known;
mod limit_advice;
mod limits;
mod lint;
mod load;
mod login;
mod main_file;
mod matcher;
mod mcp;
mod mcp_settings;
mod mcp_tool;
mod messenger;
mod met;
mod ntfy;
mod peer;
mod people;
mod permissions;
mod policy_digest;
mod proxy;
mod pushed;
mod reach;
mod request;
mod response;
mod services;
mod settings;
mod source;
mod templates;
mod terms;
mod tool;
mod tool_files;
mod tree;
mod variables;

pub(crate) use cases::{Case, CaseNames, Expected, cases};
pub use channel_settings::ChannelConfig;
#[cfg(test)]
pub(crate) use channel_settings::Links;
pub(crate) use channel_settings::{
    ApiConfig, CompanionConfig, NtfyConfig, PushPeer, TelegramConfig, WebhookConfig,
};
pub use finding::{Finding, Severity};
pub use load::{Loaded, Paths, load, load_in, local};
pub(crate) use load::{LocalConfig, bot, mcp_server, misfit};
pub(crate) use mcp::{CHILD_CAN, OVER_HTTP};
pub(crate) use mcp_settings::McpEra;
pub use mcp_settings::McpService;
pub(crate) use mcp_tool::{OWNERS, of_owner, pinned};
pub(crate) use permissions::Permissions;
pub(crate) use settings::{AgentConfig, ApprovalConfig, CircuitBreaker, Storage};
pub use settings::{
    Auth, Config, CoolDown, ErrorMapping, Health, HttpService, Login, LoginRequest, PermitService,
    ServiceConfig, SyncMode, Take,
};
pub(crate) use tool_files::check_tool_file;
pub use variables::Surroundings;
