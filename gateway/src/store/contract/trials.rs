//! Versions that are tried: kept with their plugin, and what a canary parked is for the active version once it has ended.

use super::{Store, on_every_engine};
use crate::{
    model::{
        catalog::Change,
        id::Digest,
        message::Held,
        plugin::{Plugin, Version},
        sample,
        trial::{Mode, Trial},
    },
    store::Dispatched,
};

on_every_engine! {
    a_trial_in_quarantine_releases_what_a_canary_parked,
}

async fn a_trial_in_quarantine_releases_what_a_canary_parked(store: &Store) {
    for (mode, releases) in [(Mode::Shadow, false), (Mode::Canary { percent: 9 }, true)] {
        let tenant = store.tenant(1).await;
        let old = sample::plugin(tenant.application.id, "main");
        let (mut new, digest) = (old.next(2), Digest([9; 32]));
        new.add(Version { digest, size: 1, created: 2, signed_by: None, code: 0 });
        new.try_out(Some(Trial { digest, mode, since: 2, stopped: None }));
        let find = || {
            let snapshot = store.catalog.snapshot();
            Plugin::clone(snapshot.plugin(new.application, "main").expect("is there"))
        };
        for plugin in [&old, &new] {
            store.change(Change::PutPlugin(plugin.clone(), None)).await;
        }
        assert_eq!(find(), new);
        let leased = store.leased(&tenant, 1).await.remove(0);
        let parked = Held::Parked { kind: "trap".into(), reason: "why".into() };
        let sequence = leased.sequence;
        store.queue.dispatched(leased, Dispatched::Held(parked, store.cause(&tenant, None)));
        let before = store.depths().await.parked;
        let quarantine =
            Change::QuarantinePlugin(new.application, new.name.clone(), digest, "why".into());
        store.change(quarantine).await;
        assert_eq!(find(), new.in_quarantine(digest, "why".into()));
        assert_eq!(find().quarantined, None, "the plugin goes on");
        match releases {
            true => assert_eq!(store.lease(1).await[0].sequence, sequence),
            false => assert_eq!(store.depths().await.parked, before),
        }
    }
}
