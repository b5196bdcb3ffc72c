//! What the buttons carry, and how it is read back: a version letter, the action, and the question's 128-bit id.
//! What comes back is from a client that may have been changed: it names a question, it proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::api::Button;
use crate::base::ids::RequestId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Allow,
    Deny,
    /// The agent's answer waits for a note.
    DenyWithReason,
    /// After a denial: there will be no note.
    NoReason,
}

const ACTIONS: [(Press, &str); 4] =
    [(Press::Allow, "1a"), (Press::Deny, "1d"), (Press::DenyWithReason, "1r"), (Press::NoReason, "1n")];

/// The buttons of an open question, row by row. `reasons`: whether a denial may wait for its reason.
pub(super) fn answers(id: RequestId, reasons: bool) -> Vec<Vec<Button>> {
    let mut rows = vec![vec![button("Deny", Press::Deny, id), button("Allow", Press::Allow, id)]];
    if reasons {
        // The label is too long for a third of a phone.
        rows.push(vec![button("Deny with a reason", Press::DenyWithReason, id)]);
    }
    rows
}

/// The button while a note may be added.
pub(super) fn no_reason(id: RequestId) -> Vec<Vec<Button>> {
    vec![vec![button("No reason", Press::NoReason, id)]]
}

fn button(text: &str, press: Press, id: RequestId) -> Button {
    let action = ACTIONS.iter().find(|(p, _)| *p == press).map(|(_, action)| *action).unwrap_or_default();
    Button { text: text.to_owned(), data: format!("{action}{}", URL_SAFE_NO_PAD.encode(id.as_bytes())) }
}

/// None for everything that this version does not write.
pub(super) fn read(data: &str) -> Option<(Press, RequestId)> {
    let (press, id) =
        ACTIONS.iter().find_map(|(press, action)| Some((*press, data.strip_prefix(action)?)))?;
    let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
    Some((press, RequestId::from_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let id = RequestId::random();
        let [deny, allow, reason] = answers(id, true).concat().try_into().unwrap();
        assert_eq!(answers(id, false), [vec![deny.clone(), allow.clone()]]);
        assert_eq!(read(&deny.data), Some((Press::Deny, id)));
        assert_eq!(read(&reason.data), Some((Press::DenyWithReason, id)));
        assert_eq!(read(&allow.data), Some((Press::Allow, id)));
        assert!(allow.data.len() == 24 && deny.data.starts_with("1d"));
        let good = allow.data.as_str();
        let mut bad =
            vec![String::new(), "1a".into(), format!("{good}A"), good[..23].into(), format!("{good}=")];
        bad.extend([good.replacen('1', "2", 1), good.replacen('a', "x", 1), good.to_uppercase() + "😀"]);
        for data in bad {
            assert_eq!(read(&data), None, "{data}");
        }
    }
}
