//! The contract's version 0.1 (`wit/since-v0.1`): its bindings, and the way between them and our nouns, a file for each
//! world and each capability. Nothing outside this folder sees a generated type.

use super::{
    call::{CallFailure, Done, Task},
    state::State,
};
use crate::model::plugin::Kind;
use transform::bindings::{Transforming, TransformingPre};
use wasmtime::{
    Result, Store,
    component::{Component, HasSelf, InstancePre, Linker},
};

mod transform;
mod sign;
mod classify;
mod configuration;
mod keyvalue;
mod http;
mod capabilities;

/// What a plugin must export one of, and what that makes it.
pub(super) const EXPORTS: [(Kind, &str); 3] = [
    (Kind::Transform, "octohooks:plugin/transformer@0.1.0"),
    (Kind::Sign, "octohooks:plugin/signer@0.1.0"),
    (Kind::Classify, "octohooks:plugin/classifier@0.1.0"),
];

/// What it may export beside that.
pub(super) const CONFIGURATION: &str = "octohooks:plugin/configuration@0.1.0";

/// What every plugin of these kinds may import.
pub(super) const IMPORTS: [(&str, &[Kind]); 5] = [
    ("octohooks:plugin/types@0.1.0", &[Kind::Transform]),
    ("octohooks:plugin/log@0.1.0", &[Kind::Transform, Kind::Sign, Kind::Classify]),
    ("octohooks:plugin/settings@0.1.0", &[Kind::Transform, Kind::Sign, Kind::Classify]),
    ("octohooks:plugin/application@0.1.0", &[Kind::Transform]),
    ("octohooks:plugin/keys@0.1.0", &[Kind::Sign]),
];

/// What a plugin may import if it was granted, and the grant's name.
pub(super) const CAPABILITIES: [(&str, &str); 5] = [
    ("octohooks:plugin/keyvalue@0.1.0", "keyvalue"),
    ("octohooks:plugin/secrets@0.1.0", "secrets"),
    ("octohooks:plugin/clock@0.1.0", "clock"),
    ("octohooks:plugin/random@0.1.0", "random"),
    ("octohooks:plugin/http@0.1.0", "http"),
];

/// A component of this version, linked and ready to be instantiated.
pub(super) struct Ready {
    world: World,
    configured: Option<configuration::ConfiguringPre<State>>,
}

enum World {
    Transform(TransformingPre<State>),
    Sign(sign::SigningPre<State>),
    Classify(classify::ClassifyingPre<State>),
}

impl Ready {
    /// Fails if the component does not export what the contract says for its kind, with the types it says.
    pub(super) fn new(kind: Kind, configured: bool, linked: InstancePre<State>) -> Result<Self> {
        let schema = configured.then(|| linked.clone());
        let world = match kind {
            Kind::Transform => World::Transform(TransformingPre::new(linked)?),
            Kind::Sign => World::Sign(sign::SigningPre::new(linked)?),
            Kind::Classify => World::Classify(classify::ClassifyingPre::new(linked)?),
        };
        let configured = schema.map(configuration::ConfiguringPre::new).transpose()?;
        Ok(Self { world, configured })
    }

    /// The component that is run.
    pub(super) fn component(&self) -> &Component {
        match &self.world {
            World::Transform(ready) => ready.instance_pre().component(),
            World::Sign(ready) => ready.instance_pre().component(),
            World::Classify(ready) => ready.instance_pre().component(),
        }
    }

    /// Makes an instance in the store, which runs what it runs before it is called.
    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> Result<()> {
        match &self.world {
            World::Transform(ready) => ready.instantiate_async(store).await.map(drop),
            World::Sign(ready) => ready.instantiate_async(store).await.map(drop),
            World::Classify(ready) => ready.instantiate_async(store).await.map(drop),
        }
    }

    /// Whether it says what its settings must look like.
    pub(super) const fn is_configured(&self) -> bool {
        self.configured.is_some()
    }

    /// Makes an instance in the store and calls it. The outer error is a trap or a limit.
    pub(super) async fn call(
        &self,
        store: &mut Store<State>,
        task: &Task,
    ) -> Result<Result<Done, CallFailure>> {
        match (task, &self.world, &self.configured) {
            (Task::Transform(content_type), World::Transform(ready), _) => {
                let verdict = transform::call(ready, store, content_type.as_deref()).await?;
                Ok(verdict.map(Done::Verdict))
            }
            (Task::Sign(request), World::Sign(ready), _) => {
                Ok(sign::call(ready, store, request).await?.map(Done::Headers))
            }
            (Task::Classify(answer), World::Classify(ready), _) => {
                Ok(classify::call(ready, store, answer).await?.map(Done::Meaning))
            }
            (Task::Schema, _, Some(ready)) => {
                Ok(Ok(Done::Schema(configuration::call(ready, store).await?)))
            }
            (task, ..) => Ok(Err(CallFailure::Other(format!("it cannot {}", task.name())))),
        }
    }
}

/// Gives components of this version their imports.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    Transforming::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    sign::link(linker)
}
