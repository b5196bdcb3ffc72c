//! What a button on a phone says when it is tapped: which question, what the answer is, and the token that proves that it
//! was below that question as it was shown. Pure.

use crate::base::ids::RequestId;
use crate::base::secret::Secret;
use crate::model::{Approval, Choice};

/// Stands before all of our buttons: every app on every phone reports its own in the same way.
const OURS: &str = "agentpass";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Button {
    Deny,
    Allow,
}

impl Button {
    fn word(self) -> &'static str {
        match self {
            Button::Deny => "deny",
            Button::Allow => "allow",
        }
    }

    pub(super) fn choice(self) -> Choice {
        match self {
            Button::Deny => Choice::Deny { note: None },
            Button::Allow => Choice::Approve(Approval::once()),
        }
    }
}

pub(super) struct Tap {
    pub(super) button: Button,
    pub(super) id: RequestId,
    pub(super) token: Secret,
}

/// What the button is called where nobody sees it. It comes back as it is.
pub(super) fn action(channel: &str, button: Button, id: RequestId, token: &Secret) -> String {
    format!("{OURS}/{channel}/{}/{id}/{}", button.word(), token.expose())
}

/// None for what is no button of this channel.
pub(super) fn read(channel: &str, action: &str) -> Option<Tap> {
    let parts: Vec<_> = action.split('/').collect();
    let &[OURS, of, word, id, token] = parts.as_slice() else { return None };
    let button = [Button::Deny, Button::Allow].into_iter().find(|button| button.word() == word)?;
    (of == channel).then_some(())?;
    Some(Tap { button, id: RequestId::parse(id)?, token: Secret::new(token.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_button_says_is_read_again_and_nothing_else_is() {
        let (id, token) = (RequestId::random(), Secret::new("abc-_1".to_owned()));
        for button in [Button::Deny, Button::Allow] {
            let text = action("house", button, id, &token);
            let tap = read("house", &text).unwrap();
            assert_eq!((tap.button, tap.id, tap.token.expose()), (button, id, "abc-_1"));
            assert!(read("other", &text).is_none() && read("house", &format!("{text}/x")).is_none());
        }
        for bad in ["", "URI", "agentpass/house/yes/x/t", "agentpass/house/allow/not-an-id/t"] {
            assert!(read("house", bad).is_none(), "{bad}");
        }
    }
}
