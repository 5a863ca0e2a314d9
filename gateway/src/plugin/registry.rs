//! The loaded components, by digest. Filled at start and at each upload, read for every message. A
//! component stays for as long as something runs it, whatever happens here.

use super::compile::Loaded;
use crate::model::id::Digest;
use arc_swap::ArcSwap;
use std::{collections::HashMap, sync::Arc};

/// What is loaded. Readers take no lock; a change copies the map, which has an entry per version in use.
#[derive(Debug, Default)]
pub struct Registry {
    loaded: ArcSwap<HashMap<Digest, Arc<Loaded>>>,
}

impl Registry {
    /// Adds a component, or replaces the one with the same bytes.
    pub fn insert(&self, loaded: &Arc<Loaded>) {
        self.loaded.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.insert(loaded.digest, Arc::clone(loaded));
            map
        });
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
