//! How the agent-side commands reach a gateway: address, token and trust, from options, files and the environment.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use super::{Exit, Trouble};
use crate::base::secret::Secret;
use crate::base::url::Url;
use crate::client::{ClientOptions, Trust};

/// The largest token file and CA file taken, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The options that `request`, `tools` and `pending` share.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    /// `--url`
    pub url: Option<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--token-file`
    pub(crate) token_file: Option<String>,
    /// `--ca-cert`
    pub ca_cert: Option<String>,
    /// `--pin`
    pub pin: Option<String>,
}

impl Gateway {
    /// What to connect with; the first connection is tried once.
    ///
    /// # Errors
    /// Exit 3 without a URL or a token, exit 4 for options that cannot be used.
    pub(crate) fn options(self) -> Result<ClientOptions, Trouble> {
        let url = self.url.or_else(|| variable("AGENTPASS_URL")).ok_or_else(|| {
            missing("no gateway address is given").help("use --url wss://host:port, or set AGENTPASS_URL")
        })?;
        Url::gateway(&url).map_err(|e| unusable(format!("{url:?}: {e}")))?;
        let token = token(self.token, self.token_file)?;
        let pin = self.pin.or_else(|| variable("AGENTPASS_PIN").filter(|_| self.ca_cert.is_none()));
        let trust = trust(self.ca_cert, pin)?;
        Ok(ClientOptions { trust, fail_fast: true, ..ClientOptions::new(url, token) })
    }
}

/// What an option of the gateway cannot be, and why.
fn unusable(cause: impl std::fmt::Display) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, "reach the gateway", cause)
}

fn missing(cause: &str) -> Trouble {
    Trouble::new(Exit::CONNECTION, "reach the gateway", cause)
}

fn token(option: Option<String>, file: Option<String>) -> Result<Secret, Trouble> {
    let token = match (option, file) {
        (Some(_), Some(_)) => return Err(unusable("--token and --token-file exclude each other")),
        (Some(token), None) => Some(token),
        (None, Some(path)) => Some(token_in(&path)?),
        (None, None) => variable("AGENT_TOKEN"),
    };
    match token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(Secret::new(token)),
        None => Err(missing("no token is given").help("set AGENT_TOKEN, or use --token-file FILE")),
    }
}

fn token_in(path: &str) -> Result<String, Trouble> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("the token is not text").at(path))?;
    Ok(text.trim().to_owned())
}

fn trust(ca_cert: Option<String>, pin: Option<String>) -> Result<Trust, Trouble> {
    match (ca_cert, pin) {
        (Some(_), Some(_)) => Err(unusable("--ca-cert and --pin exclude each other")),
        (Some(path), None) => read(&path).map(Trust::CaFile),
        (None, Some(pin)) => Trust::parse_pin(&pin).map_err(unusable),
        (None, None) => Ok(Trust::System),
    }
}

fn read(path: &str) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| unusable(e).at(path))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| unusable(e).at(path))?;
    if bytes.len() as u64 > MAX_FILE { Err(unusable("the file is too large").at(path)) } else { Ok(bytes) }
}

/// A variable that is set, is text and is not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `--timeout`: seconds, also with a fraction.
///
/// # Errors
/// A sentence, for argh.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|s| *s > 0.0);
    let duration = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    duration.ok_or_else(|| "it must be a number of seconds above 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(seconds("900"), Ok(Duration::from_secs(900)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "NaN", "inf", "1e300", "", "15m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
