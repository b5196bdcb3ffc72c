//! How the agent-side commands reach a gateway: address, token and trust, from options, files and the environment.

use std::env;
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use super::{Exit, Trouble};
use crate::base::secret::Secret;
use crate::base::url::Url;
use crate::client::{ClientOptions, Trust};

/// The largest token file and CA file taken, in bytes.
const MAX_FILE: u64 = 1 << 20;
const WHAT: &str = "reach the gateway";

/// What to connect with; the first connection is tried once.
///
/// # Errors
/// Exit 3 without a URL or a token, exit 4 for options that cannot be used.
pub(crate) fn options(
    url: Option<&str>,
    token: (Option<&str>, Option<&str>),
    ca_cert: Option<&str>,
    pin: Option<&str>,
) -> Result<ClientOptions, Trouble> {
    let url = url.map(str::to_owned).or_else(|| variable("AGENTPASS_URL")).ok_or_else(|| {
        missing("no gateway address is given").help("use --url wss://host:port, or set AGENTPASS_URL")
    })?;
    Url::gateway(&url).map_err(|e| unusable(format!("{url:?}: {e}")))?;
    let token = given_token(WHAT, token.0, token.1)?.or_else(|| variable("AGENT_TOKEN"));
    let token = token
        .filter(|token| !token.is_empty())
        .ok_or_else(|| missing("no token is given").help("set AGENT_TOKEN, or use --token-file FILE"))?;
    let pin = pin.map(str::to_owned).or_else(|| variable("AGENTPASS_PIN").filter(|_| ca_cert.is_none()));
    let trust = match (ca_cert, pin) {
        (Some(_), Some(_)) => return Err(unusable("--ca-cert and --pin cannot be used together")),
        (Some(path), None) => Trust::CaFile(read(WHAT, path)?),
        (None, Some(pin)) => Trust::parse_pin(&pin).map_err(unusable)?,
        (None, None) => Trust::System,
    };
    Ok(ClientOptions { trust, fail_fast: true, ..ClientOptions::new(url, Secret::new(token)) })
}

fn unusable(cause: impl Display) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause)
}

fn missing(cause: &str) -> Trouble {
    Trouble::new(Exit::CONNECTION, WHAT, cause)
}

/// The token of `--token` or `--token-file`; `what` it is for stands in errors.
pub(crate) fn given_token(
    what: &str,
    option: Option<&str>,
    file: Option<&str>,
) -> Result<Option<String>, Trouble> {
    let unusable = |cause| Trouble::new(Exit::BAD_ARGUMENTS, what, cause);
    let Some(path) = file else { return Ok(option.map(str::to_owned)) };
    if option.is_some() {
        return Err(unusable("--token and --token-file cannot be used together"));
    }
    let text =
        String::from_utf8(read(what, path)?).map_err(|_| unusable("the token is not text").at(path))?;
    Ok(Some(text.trim().to_owned()))
}

fn read(what: &str, path: &str) -> Result<Vec<u8>, Trouble> {
    let unusable = |cause: &dyn Display| Trouble::new(Exit::BAD_ARGUMENTS, what, cause).at(path);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| unusable(&e))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| unusable(&e))?;
    if bytes.len() as u64 > MAX_FILE { Err(unusable(&"the file is too large")) } else { Ok(bytes) }
}

/// A variable that is set, is text and is not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `--timeout`: seconds, also with a fraction.
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
