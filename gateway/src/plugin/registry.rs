//! The loaded components, by digest. Filled at each upload, and after a start by the first message; read for every
//! message. A component stays for as long as something runs it, whatever happens here. Why one could not be loaded is
//! remembered for a moment, so that not each of the messages that wait for it has it compiled once more.

use super::compile::{Loaded, Rejected};
use crate::{clock, model::id::Digest};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long it is remembered why a component could not be loaded.
const REMEMBERED: Duration = Duration::from_secs(10);

/// What is loaded. Readers take no lock; a change copies the map, which has an entry per version in use.
#[derive(Debug, Default)]
pub struct Registry {
    loaded: ArcSwap<HashMap<Digest, Arc<Loaded>>>,
    /// What is being loaded.
    loading: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// What could not be, and since when.
    rejected: Mutex<HashMap<Digest, (Instant, Rejected)>>,
}

impl Registry {
    /// Adds a component, or replaces the one with the same bytes.
    pub fn insert(&self, loaded: &Arc<Loaded>) {
        self.loaded.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.insert(loaded.digest, Arc::clone(loaded));
            map
        });
        self.rejected().remove(&loaded.digest);
    }

    /// Why the component could not be loaded a moment ago, if that was so.
    pub fn rejected_before(&self, digest: &Digest) -> Option<Rejected> {
        let mut known = self.rejected();
        known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        known.get(digest).map(|(_, rejected)| rejected.clone())
    }

    /// Notes that it could not be.
    pub fn reject(&self, digest: Digest, rejected: Rejected) {
        self.rejected().insert(digest, (clock::instant(), rejected));
    }

    fn rejected(&self) -> MutexGuard<'_, HashMap<Digest, (Instant, Rejected)>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The component with that digest, loaded by the first who asks while the others wait.
    pub async fn get_or_load<E>(
        &self,
        digest: &Digest,
        load: impl Future<Output = Result<Arc<Loaded>, E>>,
    ) -> Result<Arc<Loaded>, E> {
        if let Some(loaded) = self.get(digest) {
            return Ok(loaded);
        }
        let loading = || self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = loading().entry(*digest).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(loaded) = self.get(digest) {
            return Ok(loaded);
        }
        let loaded = load.await?;
        self.insert(&loaded);
        loading().remove(digest);
        Ok(loaded)
    }

    /// The component with that digest.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        self.loaded.load().get(digest).cloned()
    }

    /// How many components are loaded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.loaded.load().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all components but those wanted, for instance the ones no application uses any more.
    pub fn retain(&self, wanted: impl Fn(&Digest) -> bool) {
        self.loaded.rcu(|map| {
            let kept = map.iter().filter(|(digest, _)| wanted(digest));
            kept.map(|(digest, loaded)| (*digest, Arc::clone(loaded))).collect::<HashMap<_, _>>()
        });
    }
}
