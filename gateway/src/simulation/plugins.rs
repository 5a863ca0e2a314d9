//! The plugins of a simulation: a real transform without code, which lets messages through, drops them or fails on them by
//! what their payloads say, so that what may become of each is known beforehand.

use super::{dice::number, life::host, world::World};
use crate::{
    model::{
        catalog::Change,
        id::{ApplicationId, EnvironmentId},
        message::{Held, Message, Sequence},
        name::PluginName,
        plugin::{Kind, Plugin, Policy, Version},
    },
    plugin::Loaded,
    store::{Again, Catalog, DeliveryRecord, Log, Recovery},
};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// What it is: `n` is never 3 in what it lets through, and what is not JSON it fails on.
const DEFINITION: &str = r#"{ "filter": "@.n != 3" }"#;

/// What the plugin does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lets it through.
    Passes,
    /// It drops it.
    IsDropped,
    /// It fails on it.
    Fails,
}

impl Fate {
    /// That of most, or another.
    pub fn drawn() -> Self {
        match number(0..8) {
            0 => Self::IsDropped,
            1 => Self::Fails,
            _ => Self::Passes,
        }
    }

    /// That of a message.
    pub fn of(message: &Message) -> Self {
        let all = [Self::Passes, Self::IsDropped, Self::Fails];
        all.into_iter().find(|fate| fate.payload() == message.payload).unwrap_or(Self::Passes)
    }

    /// A payload that says so.
    pub fn payload(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Passes => br#"{"n": 1}"#,
            Self::IsDropped => br#"{"n": 3}"#,
            Self::Fails => b"{",
        })
    }

    /// Whether a message may be held like this for its plugin's sake.
    pub fn may_be(self, held: &Held) -> bool {
        match held {
            Held::Dropped { .. } => self == Self::IsDropped,
            Held::Parked { .. } | Held::Dead { .. } => self == Self::Fails,
            _ => true,
        }
    }
}

/// The component: made once, since it never changes.
pub fn loaded() -> &'static Arc<Loaded> {
    static LOADED: OnceLock<Arc<Loaded>> = OnceLock::new();
    LOADED.get_or_init(|| host().load(DEFINITION.as_bytes()).expect("a definition"))
}

/// What becomes of what it fails on.
pub fn policy() -> Policy {
    [Policy::Park, Policy::PassThrough, Policy::DeadLetter][number(0..3) as usize]
}

/// The application's plugin.
pub fn plugin(application: ApplicationId) -> Plugin {
    let (of, name) = ((EnvironmentId::DEFAULT, application), PluginName::new("main"));
    let mut plugin = Plugin::new(of, name.expect("legal"), Kind::Transform, 1);
    let (digest, size) = (loaded().digest, loaded().size);
    plugin.add(Version { digest, size, created: 1, signed_by: None, code: 0 });
    plugin.activate(digest);
    Plugin { policy: policy(), ..plugin }
}

impl World {
    /// A plugin has another policy, and what it parked is for it again.
    pub(super) fn plug(&self) {
        let Some(application) = self.some_plugged() else { return };
        self.set_policy(application, policy());
    }

    fn set_policy(&self, application: ApplicationId, policy: Policy) {
        let old = self.life().store.snapshot().tenant(application).cloned().expect("is there");
        let mut new = old.plugins[0].next(1);
        new.policy = policy;
        new.renew();
        self.note(format!("{policy:?} is the policy of a plugin"));
        self.change(Change::PutPlugin(new, None));
    }

    fn some_plugged(&self) -> Option<ApplicationId> {
        let count = self.plugged.len() as u64;
        let index = if count == 0 { 0 } else { number(0..count) as usize };
        self.plugged.iter().nth(index).copied()
    }

    /// What is held of messages that plugins saw.
    pub(super) fn held(&self) -> Vec<(Sequence, Fate, Held)> {
        let store = self.life().store.clone();
        self.life().during(async {
            let mut held = Vec::new();
            for (sequence, (application, message)) in &self.accepted {
                if !self.plugged.contains(application) {
                    continue;
                }
                let (environment, id) = (EnvironmentId::DEFAULT, message.id.to_string());
                let found = store.message(environment, *application, &id).await.expect("reads");
                let found = found.and_then(|record| record.held).map(|(held, _)| held);
                held.extend(found.map(|held| (*sequence, Fate::of(message), held)));
            }
            held
        })
    }

    /// Messages that died are given to their plugins anew.
    pub(super) fn revive(&self) {
        let held = self.held().into_iter();
        let dead = held.filter(|(.., held)| matches!(held, Held::Dead { .. }));
        let again: Vec<_> = dead.map(|(sequence, ..)| Again::Dead(sequence)).collect();
        let (store, count) = (self.life().store.clone(), again.len());
        let due = self.life().during(async { store.again(again, None).await.expect("is done") });
        self.note(format!("{due} of {count} dead messages again"));
    }

    /// The plugins let through what they fail on, also what they parked and what died in them.
    pub(super) fn let_through(&self) {
        for application in &self.plugged {
            self.set_policy(*application, Policy::PassThrough);
        }
        self.revive();
    }

    /// What is held is held for what its payload says. What was dropped went nowhere; what a plugin failed on may have, if it
    /// was let through, and the gateway was killed before that was recorded.
    pub(super) fn look_at_held(&self, records: &[DeliveryRecord]) {
        for (sequence, fate, held) in self.held() {
            let went = records.iter().any(|record| record.key.message == sequence);
            let is_dropped = matches!(held, Held::Dropped { .. });
            if !fate.may_be(&held) || (is_dropped && went) {
                let what = format!("{sequence:?} {fate:?}, is {held:?} and went: {went}");
                self.life().during(async { self.books.lock().wrong(what) });
            }
        }
    }
}
