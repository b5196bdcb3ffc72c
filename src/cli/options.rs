//! Options that several commands share. argh cannot put one struct of options into another, so macros write them.

/// A command that asks the gateway on this machine: its own options, and those that lead to the control socket.
macro_rules! owner_command {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(argh::FromArgs, Debug)]
        $(#[$about])*
        pub(crate) struct $name {
            $($own)*
            /// the gateway's control socket (default: the one in config.yaml)
            #[argh(option, arg_name = "file")]
            pub socket: Option<String>,
            /// config.yaml, which names the socket (default: as for serve)
            #[argh(option, arg_name = "file")]
            pub config: Option<String>,
        }

        impl $name {
            /// Connects to the gateway to do `what`.
            fn connect(&self, what: &'static str) -> Result<$crate::cli::owner::ControlClient, $crate::cli::Trouble> {
                $crate::cli::owner::ControlClient::connect(what, self.socket.as_deref(), self.config.as_deref())
            }
        }
    };
}

/// A command of an agent: its own options, and those that lead to the gateway from any machine.
macro_rules! agent_command {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(argh::FromArgs, Debug)]
        $(#[$about])*
        pub(crate) struct $name {
            $($own)*
            /// the gateway, wss://host:port (default: AGENTPASS_URL); ws:// sends the token unencrypted
            #[argh(option)]
            pub url: Option<String>,
            /// the agent's token (default: AGENT_TOKEN); other users of this machine can see it on the command line
            #[argh(option)]
            pub token: Option<String>,
            /// read the token from this file
            #[argh(option, arg_name = "file")]
            pub(crate) token_file: Option<String>,
            /// trust the certificates in this PEM file as well as the system's authorities
            #[argh(option, arg_name = "file")]
            pub ca_cert: Option<String>,
            /// trust only the public key with this hash, sha256:HEX, as `agentpass init` prints it (default:
            /// AGENTPASS_PIN)
            #[argh(option)]
            pub pin: Option<String>,
            /// how much is logged to stderr: error, warn, info, debug or trace (default: LOG_LEVEL, else warn)
            #[argh(option, arg_name = "level")]
            pub log_level: Option<String>,
        }

        impl $name {
            /// How the gateway is reached.
            fn gateway(&self) -> Result<$crate::client::ClientOptions, $crate::cli::Trouble> {
                let token = (self.token.as_deref(), self.token_file.as_deref());
                $crate::cli::gateway::options(self.url.as_deref(), token, self.ca_cert.as_deref(), self.pin.as_deref())
            }
        }
    };
}

pub(super) use {agent_command, owner_command};
