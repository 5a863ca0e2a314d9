//! What is done now and then, for nobody in particular. What was compiled and is not called any more takes room on the disk.
//! Keys that have expired open nothing from that moment on; that
//! tokens go from the catalog after it only keeps the catalog small.

use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Snapshot},
        id::KeyId,
    },
    plugin::{Host, Registry},
    store::Catalog,
};
use std::{sync::Arc, time::Duration};

/// How often.
const PERIOD: Duration = Duration::from_secs(60);
/// How many at a time: each is a commit, and others want to commit as well.
const PIECE: usize = 100;
/// How long others have the store for themselves after each piece.
const PAUSE: Duration = Duration::from_millis(100);

/// How often what was compiled is looked through.
const COMPILED: Duration = Duration::from_secs(3600);

/// Forgets for ever what was compiled of components that no plugin has a version of. One that is just being uploaded is
/// compiled once more at the next start. In memory only what is called stays.
pub async fn forget_compiled(catalog: Arc<dyn Catalog>, host: Host, registry: Arc<Registry>) {
    loop {
        let called = catalog.snapshot().called();
        registry.retain(|digest| called.contains(digest));
        let (used, host) = (catalog.snapshot().components(), host.clone());
        let forget = move || host.forget_compiled(|digest| used.contains(digest));
        if let Err(error) = tokio::task::spawn_blocking(forget).await {
            tracing::error!(%error, "compiled plugins could not be forgotten");
        }
        tokio::time::sleep(COMPILED).await;
    }
}

/// Removes expired tokens for ever.
pub async fn remove_expired(catalog: Arc<dyn Catalog>) {
    loop {
        remove(&*catalog, clock::now(), PAUSE).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn remove(catalog: &dyn Catalog, now: Millis, pause: Duration) {
    let expired = expired(&catalog.snapshot(), now);
    for (index, id) in expired.into_iter().enumerate() {
        if index > 0 && index % PIECE == 0 {
            tokio::time::sleep(pause).await;
        }
        // One that was deleted meanwhile is gone as well; what the store cannot do now it can do later.
        if let Err(error) = catalog.change(Change::DeleteKey(id)).await {
            tracing::debug!(%error, "an expired key could not be removed");
        }
    }
}

/// Keys of an application that have expired. The others stay for their administrator to see.
fn expired(catalog: &Snapshot, now: Millis) -> Vec<KeyId> {
    let expired =
        catalog.keys().filter(|key| key.is_token() && key.expires.is_some_and(|end| end <= now));
    expired.map(|key| key.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            key::{Key, Scope},
            sample,
        },
        store::memory::Memory,
    };

    #[tokio::test]
    async fn expired_tokens_go_and_everything_else_stays() {
        let catalog = Memory::new();
        let application = sample::application();
        let environment = application.environment;
        let token = Scope::Application(application.id);
        catalog.change(Change::PutApplication(application)).await.expect("is made");
        let mut left = Vec::new();
        for (scope, expires, stays) in [
            (token, Some(9), false),
            (token, Some(10), false),
            (token, Some(11), true),
            (token, None, true),
            (Scope::Publish, Some(9), true),
        ] {
            let key = Key { scope, expires, ..sample::key(environment) };
            left.extend(stays.then_some(key.id));
            catalog.change(Change::PutKey(key)).await.expect("is made");
        }
        remove(&*catalog, 10, Duration::ZERO).await;
        let mut found: Vec<_> = catalog.snapshot().keys().map(|key| key.id).collect();
        found.sort();
        assert_eq!(found, left);
    }

    #[tokio::test]
    async fn all_that_have_expired_go_at_once() {
        let catalog = Memory::new();
        let application = sample::application();
        let (environment, scope) = (application.environment, Scope::Application(application.id));
        catalog.change(Change::PutApplication(application)).await.expect("is made");
        for _ in 0..1_100 {
            let key = Key { scope, expires: Some(9), ..sample::key(environment) };
            catalog.change(Change::PutKey(key)).await.expect("is made");
        }
        remove(&*catalog, 10, Duration::ZERO).await;
        assert_eq!(catalog.snapshot().keys().count(), 0);
    }
}
