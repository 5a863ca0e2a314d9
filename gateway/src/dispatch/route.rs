//! Which endpoints a dispatch reaches: the subscription rules. A function of its arguments.

use crate::model::{
    catalog::Tenant,
    dispatch::Target,
    endpoint::Endpoint,
    id::EndpointId,
    name::{Channel, EventType},
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The endpoints the target means, each once, oldest first. An endpoint that is named is meant whatever it
/// subscribes to; names that are not the application's have been refused before.
#[must_use]
pub fn recipients<'a>(
    tenant: &'a Tenant,
    target: &Target,
    event_type: &EventType,
    channels: &[Channel],
) -> Vec<&'a Arc<Endpoint>> {
    let channels = match target {
        Target::Subscribed => channels,
        Target::Channels(instead) => instead,
        Target::Endpoints(names) => {
            let named = names.iter().filter_map(|name| tenant.endpoint(name));
            let unique: BTreeMap<EndpointId, _> = named.map(|found| (found.id, found)).collect();
            return unique.into_values().collect();
        }
    };
    tenant.endpoints.values().filter(|e| e.enabled && e.subscribes(event_type, channels)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn subscriptions() {
        // event types, channels, enabled; message's event type and channels; whether it is sent
        type Row = (
            &'static [&'static str],
            &'static [&'static str],
            bool,
            &'static str,
            &'static [&'static str],
            bool,
        );
        let table: [Row; 11] = [
            (&[], &[], true, "a", &[], true),
            (&[], &[], true, "a", &["x"], true),
            (&["a"], &[], true, "a", &[], true),
            (&["a", "b"], &[], true, "b", &[], true),
            (&["a"], &[], true, "A", &[], false),
            (&["a"], &[], true, "b", &[], false),
            (&[], &["x"], true, "a", &["x", "y"], true),
            (&[], &["x"], true, "a", &["X"], false),
            (&[], &["x"], true, "a", &[], false),
            (&["a"], &["x"], true, "b", &["x"], false),
            (&[], &[], false, "a", &[], false),
        ];
        for row in table {
            let (types, channels, enabled, event_type, on, sent) = row;
            let mut endpoint = sample::endpoint();
            endpoint.event_types =
                types.iter().map(|t| EventType::new(t).expect("legal")).collect();
            endpoint.channels = channels.iter().map(|c| Channel::new(c).expect("legal")).collect();
            endpoint.enabled = enabled;
            let on: Vec<_> = on.iter().map(|c| Channel::new(c).expect("legal")).collect();
            let event_type = EventType::new(event_type).expect("legal");
            let (id, endpoint) = (endpoint.id, Arc::new(endpoint));
            let tenant = Tenant { endpoints: [(id, endpoint)].into(), ..sample::tenant(0) };
            let found = recipients(&tenant, &Target::Subscribed, &event_type, &on);
            assert_eq!(!found.is_empty(), sent, "{row:?}");
        }
    }

    #[test]
    fn a_named_endpoint_is_meant_whatever_it_subscribes_to_and_once() {
        let tenant = sample::tenant(3);
        let first = tenant.endpoints.values().next().expect("one");
        let names = vec![first.id.to_string(), first.id.to_string()];
        let event_type = EventType::new("other").expect("legal");
        let found = recipients(&tenant, &Target::Endpoints(names), &event_type, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, first.id);
    }
}
