//! One question to a version of a signer or a classifier, and to the active one beside it: what they would say of a request
//! that nobody sends, or of an answer that nobody gave. As in a simulation, nothing comes of it.

use super::{
    compare,
    shown::{Cost, Failed},
    simulate::{DEADLINE, NotSimulated, Side, Simulator, TRIES},
};
use crate::{
    model::{attempt::Meaning, catalog::Tenant, id::Digest, message::Message, plugin::Plugin},
    plugin::{Call, CallFailure, Called, Host, Loaded, LogLine, ToClassify, ToSign},
};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::time::timeout;

/// What is asked, and whom.
#[derive(Clone, Debug)]
pub struct Question {
    /// The application.
    pub tenant: Arc<Tenant>,
    /// Its plugin.
    pub plugin: Arc<Plugin>,
    /// The version that is asked beside the active one.
    pub candidate: Digest,
    /// Its settings, if other than the plugin's.
    pub settings: Option<Map<String, Value>>,
    /// For whose delivery it is called.
    pub message: Arc<Message>,
    /// What for.
    pub about: About,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum About {
    /// Which headers sign this?
    Request(ToSign),
    /// What does this mean?
    Answer(ToClassify),
}

/// What a version says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Names and values.
    Headers(Vec<(String, String)>),
    /// What an answer means.
    Meaning(Meaning),
}

/// What came of asking one.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it says, or how it failed.
    pub says: Result<Says, Failed>,
    /// What it took.
    pub cost: Cost,
    /// What it wrote.
    pub log: Vec<LogLine>,
}

impl Simulator {
    /// Asks the active version, if there is one, and then the candidate. Dropping the future ends it.
    pub async fn ask(
        self: &Arc<Self>,
        question: Question,
    ) -> Result<(Option<Told>, Told), NotSimulated> {
        let (simulator, application) = (self.clone(), question.tenant.application.id);
        self.alone(application, async move { simulator.both(&question).await }).await
    }

    async fn both(&self, question: &Question) -> Result<(Option<Told>, Told), NotSimulated> {
        let plugin = &question.plugin;
        let settings = question.settings.as_ref().unwrap_or(&plugin.settings);
        let active = match plugin.active {
            Some(active) => Some(self.side(plugin.application, active, &plugin.settings).await?),
            None => None,
        };
        let candidate = self.side(plugin.application, question.candidate, settings).await?;
        let both = async {
            let active = match &active {
                Some(side) => Some(self.told(side, question).await),
                None => None,
            };
            (active, self.told(&candidate, question).await)
        };
        timeout(DEADLINE, both).await.map_err(|_| NotSimulated::Late)
    }

    async fn told(&self, side: &Side, question: &Question) -> Told {
        let mut called = said(&self.host, &side.loaded, side, question).await;
        for _ in 1..TRIES {
            if !matches!(called.result, Err(CallFailure::Timeout(_))) {
                break;
            }
            called = said(&self.host, &side.loaded, side, question).await;
        }
        let mut cost = Cost::from(called.cost);
        let answered =
            !matches!(called.result, Err(CallFailure::Timeout(_) | CallFailure::CpuLimit(_)));
        if let (true, Some(counted), Some(Some(counting))) =
            (answered, &side.counted, self.counting.get())
        {
            cost.fuel = said(counting, counted, side, question).await.cost.fuel;
        }
        let says = called.result.map_err(|failure| compare::failure(&failure));
        Told { says, cost, log: called.log }
    }
}

async fn said(host: &Host, loaded: &Loaded, side: &Side, question: &Question) -> Called<Says> {
    let call = Call {
        message: question.message.clone(),
        tenant: question.tenant.clone(),
        settings: side.settings.clone(),
        content_type: None,
        effects: false,
    };
    match &question.about {
        About::Request(request) => {
            host.sign(loaded, call, request.clone()).await.map(Says::Headers)
        }
        About::Answer(answer) => {
            host.classify(loaded, call, answer.clone()).await.map(Says::Meaning)
        }
    }
}
