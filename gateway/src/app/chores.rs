//! What is done now and then, for nobody in particular. Keys that have expired open nothing from that moment on; that
//! tokens go from the catalog after it only keeps the catalog small.

use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Snapshot},
        id::KeyId,
        key::Scope,
    },
    store::Catalog,
};
use std::{sync::Arc, time::Duration};

/// How often.
const PERIOD: Duration = Duration::from_secs(60);
/// How many at a time: each is a commit.
const MOST: usize = 1_000;

/// Removes expired tokens for ever.
pub async fn remove_expired(catalog: Arc<dyn Catalog>) {
    loop {
        remove(&*catalog, clock::now()).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn remove(catalog: &dyn Catalog, now: Millis) {
    let expired = expired(&catalog.snapshot(), now);
    for id in expired {
        // One that was deleted meanwhile is gone as well; what the store cannot do now it can do later.
        if let Err(error) = catalog.change(Change::DeleteKey(id)).await {
            tracing::debug!(%error, "an expired key could not be removed");
        }
    }
}

/// Keys of an application that have expired. The others stay for their administrator to see.
fn expired(catalog: &Snapshot, now: Millis) -> Vec<KeyId> {
    let expired = catalog.keys().filter(|key| {
        matches!(key.scope, Scope::Application(_)) && key.expires.is_some_and(|end| end <= now)
    });
    expired.map(|key| key.id).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{key::Key, sample},
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
        remove(&*catalog, 10).await;
        let mut found: Vec<_> = catalog.snapshot().keys().map(|key| key.id).collect();
        found.sort();
        assert_eq!(found, left);
    }
}
