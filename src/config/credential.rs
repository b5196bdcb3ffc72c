//! Credentials of services, as they go out: what an editor, a shell or a hasty copy leaves around them is a mistake of
//! the file, not a request that fails with 401 months later. Findings never hold the value.

use super::at::At;
use crate::base::secret::Secret;

const CHECK: &str = "check the variable or file it comes from";

/// A credential that stands in a header line or a URL: printable ASCII without quotes around it.
pub(crate) fn token(at: At<'_>) -> Option<Secret> {
    let secret = text(at)?;
    let is_printable = secret.expose().chars().all(|c| c.is_ascii_graphic() || c == ' ');
    at.ensure(is_printable, format!("{} holds characters beyond ASCII", at.name()), CHECK)?;
    Some(secret)
}

/// The token after `Bearer` in the header: one word.
pub(crate) fn bearer(at: At<'_>) -> Option<Secret> {
    let secret = token(at)?;
    let begins_so = secret.expose().get(..7).is_some_and(|word| word.eq_ignore_ascii_case("bearer "));
    let help = "give the token alone: the gateway puts \"Bearer\" before it";
    at.ensure(!begins_so, format!("{} begins with \"Bearer\"", at.name()), help)?;
    at.ensure(!secret.expose().contains(' '), format!("{} holds a space", at.name()), CHECK)?;
    Some(secret)
}

/// A password in any script, without quotes or a byte order mark around it.
pub(crate) fn text(at: At<'_>) -> Option<Secret> {
    let secret = at.secret()?;
    let value = secret.expose();
    let help = "save the file it comes from as UTF-8 without BOM";
    at.ensure(!value.contains('\u{feff}'), format!("{} holds a byte order mark", at.name()), help)?;
    let quoted =
        ['"', '\''].into_iter().any(|q| value.len() > 1 && value.starts_with(q) && value.ends_with(q));
    at.ensure(!quoted, format!("{} stands in quotes of its own", at.name()), CHECK)?;
    Some(secret)
}
