//! The channel of programs that list questions and answer them: it calls nobody. They come to the admin listener, hear
//! what the local channel's watchers hear, and are authenticated there.

use std::sync::Arc;

use super::{Channel, ChannelHealth};
use crate::model::{Outcome, Question, QuestionEnd};

pub(crate) struct ApiChannel {
    name: String,
}

impl ApiChannel {
    pub(crate) fn new(name: &str) -> ApiChannel {
        ApiChannel { name: name.to_owned() }
    }
}

impl Channel for ApiChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn asked(&self, _: &Arc<Question>) {}

    fn settled(&self, _: &Arc<Question>, _: &QuestionEnd) {}

    fn finished(&self, _: &Arc<Question>, _: &Outcome) {}

    fn notice(&self, _: &str) {}

    fn health(&self) -> ChannelHealth {
        let detail = "programs come to /approvals/api/".to_owned();
        ChannelHealth { kind: "api", pushes: false, up: true, since: None, waiting: 0, detail }
    }
}
