//! What the buttons carry, and how it is read back: a version letter, the action, the question's 128-bit id, and where
//! it says yes, the beginning of the binding of the call that the card shows.
//! What comes back is from a client that may have been changed: it names a question, it proves nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::api::Button;
use crate::base::ids::RequestId;
use crate::base::readable::{round_span, short_id};
use crate::model::{Call, Question};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Allow,
    /// More such calls too, for so many seconds.
    AllowFor(u32),
    /// Ends a grant.
    Revoke,
    Deny,
    /// The agent's answer waits for a note.
    DenyWithReason,
    /// After a denial: there will be no note.
    NoReason,
}

const ACTIONS: [(Press, &str); 5] = [
    (Press::Allow, "1a"),
    (Press::Deny, "1d"),
    (Press::DenyWithReason, "1r"),
    (Press::NoReason, "1n"),
    (Press::Revoke, "1v"),
];

/// Of a button that allows for a time: the seconds stand before the question's id.
const ALLOW_FOR: &str = "1g";

/// What a button says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pressed {
    pub press: Press,
    pub id: RequestId,
    /// [`Call::shown_as`] of the call on the card; None on buttons that say no, and on those of earlier versions.
    pub seen: Option<String>,
}

/// The buttons of an open question, row by row. `reasons`: whether a denial may wait for its reason.
pub(super) fn answers(question: &Question, reasons: bool) -> Vec<Vec<Button>> {
    let id = question.id;
    let allow = [id.as_bytes().as_slice(), &question.call.shown_as_bytes()].concat();
    let mut rows = vec![vec![button("Deny", Press::Deny, id), labelled("Allow", Press::Allow, &allow)]];
    let offered = question.ask.grant.iter().flat_map(|offer| &offer.durations);
    let granting: Vec<_> = offered.filter_map(|time| allow_for(*time, &allow)).collect();
    rows.extend((!granting.is_empty()).then_some(granting));
    if reasons {
        // The label is too long for a third of a phone.
        rows.push(vec![button("Deny with a reason", Press::DenyWithReason, id)]);
    }
    rows
}

fn allow_for(time: Duration, allow: &[u8]) -> Option<Button> {
    let seconds = u32::try_from(time.as_secs()).ok()?;
    let content = [seconds.to_be_bytes().as_slice(), allow].concat();
    let data = format!("{ALLOW_FOR}{}", URL_SAFE_NO_PAD.encode(content));
    Some(Button { text: format!("Allow {}", round_span(time)), data })
}

/// A button for each of these grants.
pub(super) fn revoke(grants: &[RequestId]) -> Vec<Vec<Button>> {
    let label = |id: &RequestId| format!("Revoke {}", short_id(&id.to_string()));
    grants.iter().map(|id| vec![button(&label(id), Press::Revoke, *id)]).collect()
}

/// The button while a note may be added.
pub(super) fn no_reason(id: RequestId) -> Vec<Vec<Button>> {
    vec![vec![button("No reason", Press::NoReason, id)]]
}

fn button(text: &str, press: Press, id: RequestId) -> Button {
    labelled(text, press, id.as_bytes())
}

fn labelled(text: &str, press: Press, content: &[u8]) -> Button {
    let action = ACTIONS.iter().find(|(p, _)| *p == press).map(|(_, action)| *action).unwrap_or_default();
    Button { text: text.to_owned(), data: format!("{action}{}", URL_SAFE_NO_PAD.encode(content)) }
}

/// None for everything that no version of this gateway has written.
pub(super) fn read(data: &str) -> Option<Pressed> {
    if let Some(content) = data.strip_prefix(ALLOW_FOR) {
        let bytes = URL_SAFE_NO_PAD.decode(content).ok()?;
        let (seconds, rest) = bytes.split_first_chunk::<4>()?;
        let (id, seen) = rest.split_first_chunk::<16>()?;
        let (press, seen) = (Press::AllowFor(u32::from_be_bytes(*seconds)), Some(Call::read_shown_as(seen)?));
        return Some(Pressed { press, id: RequestId::from_bytes(*id), seen });
    }
    let (press, content) =
        ACTIONS.iter().find_map(|(press, action)| Some((*press, data.strip_prefix(action)?)))?;
    let bytes = URL_SAFE_NO_PAD.decode(content).ok()?;
    let (id, seen) = bytes.split_first_chunk::<16>()?;
    let seen = match (press, seen) {
        (_, []) => None,
        (Press::Allow, seen) => Some(Call::read_shown_as(seen)?),
        _ => return None,
    };
    Some(Pressed { press, id: RequestId::from_bytes(*id), seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::text::tests::question;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let question = question("{}");
        let (id, shown) = (question.id, question.call.shown_as());
        let pressed = |press, seen| Some(Pressed { press, id, seen });
        let [deny, allow, reason] = answers(&question, true).concat().try_into().unwrap();
        assert_eq!(answers(&question, false), [vec![deny.clone(), allow.clone()]]);
        assert_eq!(read(&deny.data), pressed(Press::Deny, None));
        assert_eq!(read(&reason.data), pressed(Press::DenyWithReason, None));
        assert_eq!(read(&allow.data), pressed(Press::Allow, Some(shown)));
        assert!(allow.data.len() == 34 && deny.data.len() == 24 && deny.data.starts_with("1d"));
        // The buttons of earlier versions.
        assert_eq!(read(&deny.data.replacen('d', "a", 1)), pressed(Press::Allow, None));
        let good = allow.data.as_str();
        let mut bad =
            vec![String::new(), "1a".into(), format!("{good}A"), good[..23].into(), format!("{good}=")];
        bad.extend([good.replacen('1', "2", 1), good.replacen('a', "d", 1), good.to_uppercase() + "😀"]);
        for data in bad {
            assert_eq!(read(&data), None, "{data}");
        }
    }
}
