//! The catalog: changes keep the rules, are seen at once, and are told to whoever watches.

use super::*;
use crate::model::{
    catalog::{Conflict, MAX_ENDPOINTS, MAX_PLUGINS},
    environment::Environment,
    id::{Digest, EnvironmentId},
    key::Key,
    name::{EnvironmentName, PluginName, Uid},
    plugin::{Kind, Plugin, Version},
};

on_every_engine![
    a_change_is_seen_at_once_and_told_to_whoever_watches,
    environments_are_told_by_their_names,
    a_uid_is_not_given_twice,
    a_change_of_what_was_changed_meanwhile_is_refused,
    of_two_changes_at_once_one_is_refused,
    what_needs_an_application_is_refused_without_it,
    a_deleted_application_takes_what_belongs_to_it_along,
    an_application_has_so_many_endpoints_and_no_more,
    components_are_kept_for_as_long_as_a_version_is_made_of_them,
    plugins_stand_in_their_order_and_stay_of_their_kind,
];

fn plugin(application: &Application) -> Plugin {
    sample::plugin(application.id, "main")
}

fn main() -> PluginName {
    PluginName::new("main").expect("legal")
}

fn named(uid: &str) -> Application {
    Application { uid: Some(Uid::new(uid).expect("legal")), ..sample::application() }
}

async fn refused(store: &Store, change: Change) -> Conflict {
    let before = *store.catalog.watch().borrow();
    let error = soon(store.catalog.change(change)).await.expect_err("is refused");
    assert_eq!(*store.catalog.watch().borrow(), before, "a refused change is told to nobody");
    match error {
        StoreError::Conflict(conflict) => conflict,
        other => panic!("{other}"),
    }
}

async fn a_change_is_seen_at_once_and_told_to_whoever_watches(store: &Store) {
    let mut watch = store.catalog.watch();
    let before = *watch.borrow_and_update();
    let application = named("acme");
    let environment = application.environment;
    store.change(Change::PutApplication(application.clone())).await;
    soon(watch.changed()).await.expect("the store is there");
    assert!(*watch.borrow_and_update() > before);
    let snapshot = store.catalog.snapshot();
    let found = snapshot.find(environment, "acme").expect("is there");
    assert_eq!(found.application, application);
    assert!(snapshot.find(EnvironmentId(2), "acme").is_none(), "another environment");

    let endpoint = Endpoint { application: application.id, ..sample::endpoint() };
    store.change(Change::PutEndpoint(endpoint.clone())).await;
    store.change(Change::PutPlugin(plugin(&application), None)).await;
    let hash = Digest([1; 32]);
    let key = Key { hash, ..sample::key(environment) };
    store.change(Change::PutKey(key)).await;
    let snapshot = store.catalog.snapshot();
    assert_eq!(**snapshot.endpoint(endpoint.id).expect("is there"), endpoint);
    assert!(snapshot.tenant(application.id).expect("is there").plugin("main").is_some());
    assert_eq!(snapshot.key(&hash).map(|key| key.environment), Some(environment));

    store.change(Change::DeletePlugin(application.id, main())).await;
    store.change(Change::DeleteEndpoint(application.id, endpoint.id)).await;
    let snapshot = store.catalog.snapshot();
    assert!(snapshot.endpoint(endpoint.id).is_none());
    assert!(snapshot.tenant(application.id).expect("is there").plugins.is_empty());
}

async fn environments_are_told_by_their_names(store: &Store) {
    let name = |text: &str| EnvironmentName::new(text).expect("legal");
    let free = || store.catalog.snapshot().free_environment();
    let new = |text: &str| Environment::new(free(), name(text), 1);
    let (first, default) = (new("staging"), new("default"));
    store.change(Change::PutEnvironment(first.clone())).await;
    let second = new("test");
    assert_ne!(first.id, second.id);
    assert_eq!(refused(store, Change::PutEnvironment(default)).await, Conflict::NameTaken);
    assert_eq!(refused(store, Change::PutEnvironment(new("12"))).await, Conflict::NameTaken);
    let again = Environment { id: second.id, ..first.clone() };
    assert_eq!(refused(store, Change::PutEnvironment(again)).await, Conflict::NameTaken);
    let same = Environment { name: name("other"), ..first.clone() };
    assert_eq!(refused(store, Change::PutEnvironment(same)).await, Conflict::Stale);
    store.change(Change::PutEnvironment(second.clone())).await;
    let snapshot = store.catalog.snapshot();
    assert_eq!(snapshot.environment("default"), Some(EnvironmentId::DEFAULT));
    assert_eq!(snapshot.environment("staging"), Some(first.id));
    assert_eq!(snapshot.environment("test"), Some(second.id));
    assert_eq!(snapshot.environment("other"), None);
}

async fn a_uid_is_not_given_twice(store: &Store) {
    let first = named("acme");
    store.change(Change::PutApplication(first.clone())).await;
    assert_eq!(refused(store, Change::PutApplication(named("acme"))).await, Conflict::UidTaken);
    let elsewhere = store.environment("other").await;
    let elsewhere = Application { environment: elsewhere.id, ..named("acme") };
    store.change(Change::PutApplication(elsewhere)).await;

    let endpoint = || Endpoint { uid: first.uid.clone(), ..sample::endpoint() };
    let of = |application| Change::PutEndpoint(Endpoint { application, ..endpoint() });
    store.change(of(first.id)).await;
    assert_eq!(refused(store, of(first.id)).await, Conflict::UidTaken);
    let other = store.tenant(0).await.application;
    store.change(of(other.id)).await;

    let uid = |id: &dyn std::fmt::Display| Uid::new(&id.to_string()).ok();
    let shadow = Application { uid: uid(&other.id), ..sample::application() };
    assert_eq!(refused(store, Change::PutApplication(shadow)).await, Conflict::UidTaken);
    let own = sample::application();
    store.change(Change::PutApplication(Application { uid: uid(&own.id), ..own })).await;
    let known = Endpoint { application: other.id, ..sample::endpoint() };
    store.change(Change::PutEndpoint(known.clone())).await;
    let shadow = Endpoint { application: other.id, uid: uid(&known.id), ..sample::endpoint() };
    assert_eq!(refused(store, Change::PutEndpoint(shadow)).await, Conflict::UidTaken);

    let renamed = Application { uid: None, revision: 2, ..first };
    store.change(Change::PutApplication(renamed)).await;
    store.change(Change::PutApplication(named("acme"))).await;
}

async fn a_change_of_what_was_changed_meanwhile_is_refused(store: &Store) {
    let tenant = store.tenant(1).await;
    let application = tenant.application.clone();
    let endpoint = Endpoint::clone(&tenant.endpoints[&first_endpoint(&tenant)]);
    for revision in [1, 3] {
        let application = Application { revision, ..application.clone() };
        assert_eq!(refused(store, Change::PutApplication(application)).await, Conflict::Stale);
        let endpoint = Endpoint { revision, ..endpoint.clone() };
        assert_eq!(refused(store, Change::PutEndpoint(endpoint)).await, Conflict::Stale);
    }
    store.change(Change::PutApplication(Application { revision: 2, ..application })).await;
    store.change(Change::PutEndpoint(Endpoint { revision: 2, ..endpoint })).await;
}

async fn of_two_changes_at_once_one_is_refused(store: &Store) {
    let application = store.tenant(0).await.application;
    let put = |name: &str| {
        let name = name.to_owned();
        let application = Application { name, revision: 2, ..application.clone() };
        store.catalog.change(Change::PutApplication(application))
    };
    let (one, two) = soon(async { tokio::join!(put("one"), put("two")) }).await;
    let name = if one.is_ok() { "one" } else { "two" };
    let refused = one.and(two).expect_err("one of them");
    assert!(matches!(refused, StoreError::Conflict(Conflict::Stale)), "{refused}");
    let snapshot = store.catalog.snapshot();
    assert_eq!(snapshot.tenant(application.id).expect("is there").application.name, name);
}

async fn what_needs_an_application_is_refused_without_it(store: &Store) {
    let gone = sample::application();
    let endpoint = Endpoint { application: gone.id, ..sample::endpoint() };
    let id = endpoint.id;
    let table = [
        (Change::PutEndpoint(endpoint), Conflict::NoApplication),
        (Change::PutPlugin(plugin(&gone), None), Conflict::NoApplication),
        (Change::DeletePlugin(gone.id, main()), Conflict::Stale),
        (Change::DeleteEndpoint(gone.id, id), Conflict::Stale),
        (Change::DeleteApplication(gone.id), Conflict::Stale),
    ];
    for (change, expected) in table {
        assert_eq!(refused(store, change).await, expected);
    }
}

async fn a_deleted_application_takes_what_belongs_to_it_along(store: &Store) {
    let tenant = store.tenant(2).await;
    store.change(Change::PutPlugin(plugin(&tenant.application), None)).await;
    store.change(Change::DeleteApplication(tenant.application.id)).await;
    let snapshot = store.catalog.snapshot();
    assert!(snapshot.tenant(tenant.application.id).is_none());
    for endpoint in tenant.endpoints.keys() {
        assert!(snapshot.endpoint(*endpoint).is_none());
    }
}

async fn an_application_has_so_many_endpoints_and_no_more(store: &Store) {
    let application = store.tenant(MAX_ENDPOINTS).await.application.id;
    let endpoint = Endpoint { application, ..sample::endpoint() };
    let conflict = refused(store, Change::PutEndpoint(endpoint)).await;
    assert_eq!(conflict, Conflict::TooManyEndpoints);
}

async fn components_are_kept_for_as_long_as_a_version_is_made_of_them(store: &Store) {
    let (one, two) = (store.tenant(0).await.application, store.tenant(0).await.application);
    let code = async |digest: u8| {
        let code = store.catalog.code(Digest([digest; 32]));
        soon(code).await.expect("reads").map(|bytes| bytes.to_vec())
    };
    let with = |plugin: &Plugin, digest: u8| {
        let mut plugin = if plugin.versions.len() > 1 { plugin.next(2) } else { plugin.clone() };
        let digest = Digest([digest; 32]);
        plugin.add(Version { digest, size: 1, created: 1, signed_by: None, code: 0 });
        (plugin, Some((digest, vec![0, digest.0[0]].into())))
    };
    let (first, kept) = with(&plugin(&one), 3);
    assert_eq!(code(3).await, None);
    store.change(Change::PutPlugin(first.clone(), kept)).await;
    assert_eq!(code(3).await, Some(vec![0, 3]));
    let (second, kept) = with(&first, 4);
    store.change(Change::PutPlugin(second.clone(), kept)).await;
    let (other, kept) = with(&plugin(&two), 4);
    store.change(Change::PutPlugin(other.clone(), kept)).await;
    let mut left = second.next(3);
    left.remove(Digest([3; 32]));
    left.remove(Digest([4; 32]));
    store.change(Change::PutPlugin(left, None)).await;
    assert_eq!((code(3).await, code(4).await), (None, Some(vec![0, 4])), "another has it");
    store.change(Change::DeletePlugin(two.id, main())).await;
    assert_eq!(code(4).await, None);
    let (other, kept) = with(&plugin(&two), 5);
    store.change(Change::PutPlugin(other, kept)).await;
    assert!(code(5).await.is_some());
    store.change(Change::DeleteApplication(two.id)).await;
    assert_eq!(code(5).await, None);
}

async fn plugins_stand_in_their_order_and_stay_of_their_kind(store: &Store) {
    let application = store.tenant(0).await.application;
    for (name, place) in [("b", 5), ("c", 0), ("a", 5), ("d", 1)] {
        let plugin = Plugin { place, ..sample::plugin(application.id, name) };
        store.change(Change::PutPlugin(plugin, None)).await;
    }
    let names = || {
        let snapshot = store.catalog.snapshot();
        let tenant = snapshot.tenant(application.id).expect("is there");
        tenant.plugins.iter().map(|plugin| plugin.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["c", "d", "a", "b"]);
    let c = sample::plugin(application.id, "c");
    assert_eq!(refused(store, Change::PutPlugin(c.clone(), None)).await, Conflict::Stale);
    let signer = Plugin { kind: Kind::Sign, ..c.next(2) };
    assert_eq!(refused(store, Change::PutPlugin(signer, None)).await, Conflict::OtherKind);
    store.change(Change::PutPlugin(Plugin { place: 9, ..c.next(2) }, None)).await;
    assert_eq!(names(), ["d", "a", "b", "c"]);
    let digest = c.active.expect("one");
    let quarantine =
        |digest| Change::QuarantinePlugin(application.id, c.name.clone(), digest, "why".to_owned());
    assert_eq!(refused(store, quarantine(Digest([9; 32]))).await, Conflict::Stale);
    store.change(quarantine(digest)).await;
    assert_eq!(refused(store, quarantine(digest)).await, Conflict::Stale, "it is there");
    let snapshot = store.catalog.snapshot();
    let found = snapshot.plugin(application.id, "c").expect("is there");
    assert_eq!((found.quarantined.as_deref(), found.revision), (Some("why"), 3));
    for number in 4..MAX_PLUGINS {
        let plugin = sample::plugin(application.id, &format!("p{number}"));
        store.change(Change::PutPlugin(plugin, None)).await;
    }
    let more = Change::PutPlugin(sample::plugin(application.id, "more"), None);
    assert_eq!(refused(store, more).await, Conflict::TooManyPlugins);
}
