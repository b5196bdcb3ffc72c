//! The policies to start from: each with the tools that it speaks of, and with tests of its own.

/// One of them. All texts are files as they are written.
#[derive(Debug)]
pub(super) struct Starter {
    pub name: &'static str,
    pub permissions: &'static str,
    pub tests: &'static str,
    /// `services:` of config.yaml.
    pub services: &'static str,
    /// The variable that holds the token of the service, where it needs one.
    pub secret: Option<&'static str>,
    /// The tool file: its name and its text.
    pub tools: (&'static str, &'static str),
    /// The MCP server whose own words take the place of that text.
    pub imports: Option<&'static str>,
}

impl Starter {
    pub(super) fn find(name: &str) -> Option<&'static Starter> {
        ALL.iter().find(|starter| starter.name == name)
    }
}

/// The tools of a smart home.
pub(super) const HOMEASSISTANT: (&str, &str) =
    ("homeassistant.yaml", include_str!("../../../tools/homeassistant.yaml"));

/// A starter for a smart home: its permissions and its tests.
macro_rules! home {
    ($name:literal, $permissions:literal) => {
        Starter {
            name: $name,
            permissions: include_str!($permissions),
            tests: include_str!(concat!("../../../etc/starters/", $name, "/tests.yaml")),
            services: include_str!("../../../etc/starters/homeassistant.yaml"),
            secret: Some("HA_TOKEN"),
            tools: HOMEASSISTANT,
            imports: None,
        }
    };
}

/// A starter with tools of its own.
macro_rules! example {
    ($name:literal, $tools:literal, $secret:expr, $imports:expr) => {
        Starter {
            name: $name,
            permissions: include_str!(concat!("../../../etc/starters/", $name, "/permissions.yaml")),
            tests: include_str!(concat!("../../../etc/starters/", $name, "/tests.yaml")),
            services: include_str!(concat!("../../../etc/starters/", $name, "/services.yaml")),
            secret: $secret,
            tools: ($tools, include_str!(concat!("../../../etc/starters/", $name, "/tools.yaml"))),
            imports: $imports,
        }
    };
}

pub(super) static ALL: [Starter; 9] = [
    home!("home", "../../../etc/permissions.yaml"),
    home!("read-only", "../../../etc/starters/read-only/permissions.yaml"),
    home!("ask-everything", "../../../etc/starters/ask-everything/permissions.yaml"),
    home!("deny-by-default", "../../../etc/starters/deny-by-default/permissions.yaml"),
    example!("spend-cap", "spending.yaml", Some("MODELS_TOKEN"), None),
    example!("pii-egress", "office.yaml", Some("OFFICE_TOKEN"), None),
    example!("refunds", "payments.yaml", Some("PAYMENTS_TOKEN"), None),
    Starter {
        name: "shell-and-browser",
        permissions: include_str!("../../../etc/starters/shell-and-browser/permissions.yaml"),
        tests: include_str!("../../../etc/starters/shell-and-browser/tests.yaml"),
        services: include_str!("../../../etc/starters/shell-and-browser/services.yaml"),
        secret: None,
        tools: ("coding-agent.yaml", include_str!("../../../tools/coding-agent.yaml")),
        imports: None,
    },
    example!("mcp-tools", "files.mcp.yaml", None, Some("files")),
];
