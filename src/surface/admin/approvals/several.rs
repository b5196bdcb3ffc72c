//! Many questions answered at once: those whose boxes are checked, as they were shown.

use maud::{Markup, html};

use crate::base::ids::RequestId;
use crate::surface::admin::form::fields;
use crate::surface::admin::page::{self, Viewer};

/// The buttons for the checked boxes, which are in the cards.
pub(super) fn form(viewer: &Viewer, is_hidden: bool) -> Markup {
    html! {
        form.card.many #many method="post" action=(viewer.root.to("/approvals/several")) hidden[is_hidden] {
            (page::csrf(viewer))
            p { "All chosen questions at once:" }
            button.danger name="choice" value="deny" { "Deny the chosen" }
            button.primary name="choice" value="approve" { "Approve the chosen" }
        }
    }
}

/// The chosen questions, each with the call that was shown.
pub(super) fn chosen(body: &str) -> Vec<(RequestId, String)> {
    let one = |value: String| {
        let (id, seen) = value.split_once('.')?;
        Some((RequestId::parse(id)?, seen.to_owned()))
    };
    fields(body, "q").filter_map(one).collect()
}
