//! The three levels of rate limits, whatever they are.

use super::*;
use crate::deliver::limit::tests::window_maximum;
use proptest::prelude::*;

/// The most that a window saw, of what was sent.
fn most(world: &World, of: impl Fn(&Delivery) -> bool) -> usize {
    window_maximum(&world.times(of))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the limits are and however late timers: no level sees more than it may, and who has the narrowest
    /// limit on the way of a backlog has it used up.
    #[test]
    fn three_levels_are_kept_and_used_up(
        gateway in prop::option::of((20_u32..500, 1_u32..5)),
        shares in prop::collection::vec(
            (prop::option::of((5_u32..500, 1_u32..5)),
             prop::collection::vec(prop::option::of((1_u32..500, 1_u32..5)), 1..4)),
            1..4,
        ),
        // A request may wait for a timer at each level, and all that they are late is made up for if it is less than 10 ms.
        late in 0_u64..3_000, takes in 0_u64..50,
    ) {
        let limit = |of: Option<(u32, u32)>| of.map(|(limit, burst)| rate(limit, burst));
        let mut world = world(Rules { rate: limit(gateway), ..rules(1_000) });
        world.late = Duration::from_micros(late);
        let mut made = Vec::new();
        let mut narrowest = f64::MAX;
        for (share, lanes) in &shares {
            let application = world.application(limit(*share));
            for lane in lanes {
                // Somewhere there is a limit.
                let lane = lane.or(gateway.is_none().then_some((100, 1)));
                made.push((world.endpoint(application, limit(lane)), application, *share, lane));
            }
        }
        for (id, ..) in &made {
            world.takes.insert(*id, Duration::from_millis(takes));
            world.offer(*id, 6_000);
        }
        world.pass(10 * SECOND);
        for (id, application, share, lane) in &made {
            if let Some((limit, burst)) = lane {
                let most = most(&world, |d| d.key.endpoint == *id);
                prop_assert!(most <= (limit + burst) as usize, "{most} at {limit}");
            }
            if let Some((limit, burst)) = share {
                let most = most(&world, |d| d.message.application == *application);
                prop_assert!(most <= (limit + burst) as usize, "{most} at {limit}");
            }
        }
        // What all levels let through together, where a lane without a limit takes whatever there is.
        let mut all = 0.0;
        for (share, lanes) in &shares {
            let of = |limit: &Option<(u32, u32)>| limit.map_or(f64::MAX, |(limit, _)| limit.into());
            let own: f64 = lanes.iter().map(|lane| {
                of(&lane.or(gateway.is_none().then_some((100, 1))))
            }).sum();
            all += own.min(of(share));
        }
        if let Some((limit, burst)) = gateway {
            let most = most(&world, |_| true);
            prop_assert!(most <= (limit + burst) as usize, "{most} at {limit}");
            narrowest = limit.into();
        }
        let least = all.min(narrowest) * 10.0 * 0.98 - made.len() as f64;
        let offered = made.len() as f64 * 6_000.0;
        prop_assert!(world.sent.len() as f64 >= least.min(offered), "{} of {least}", world.sent.len());
    }
}

#[test]
fn an_application_leaves_places_to_others_whatever_its_lanes() {
    let mut world = world(rules(208));
    let bad = world.application(None);
    let hang = |world: &mut World, count: usize, each: usize| {
        for _ in 0..count {
            let id = world.endpoint(bad, None);
            world.takes.insert(id, 60 * SECOND);
            world.offer(id, each);
        }
    };
    // One takes its share first, many follow; then these are gone, and others come.
    hang(&mut world, 1, 1000);
    hang(&mut world, 300, 10);
    assert_eq!(world.lanes.depths().2, 156);
    let endpoints: Vec<_> = world.sent.iter().map(|(_, sent)| sent.key.endpoint).collect();
    for id in endpoints {
        world.catalog.apply(Change::DeleteEndpoint(bad, id));
    }
    let _cleared = world.lanes.follow(&world.catalog, world.now);
    hang(&mut world, 300, 10);
    assert_eq!(world.lanes.depths().2, 156);

    let good = world.application(None);
    let id = world.endpoint(good, None);
    world.offer(id, 10);
    assert_eq!(world.sent_to(id), 10);
    // It goes on when its own end, and when others' do.
    world.pass(61 * SECOND);
    assert!(world.lanes.depths().2 <= 156);
    assert!(world.sent.len() > 156 + 10 + 100, "{}", world.sent.len());
}

#[test]
fn an_application_that_left_room_goes_on_when_a_strangers_request_ends() {
    let mut world = world(rules(5));
    let (one, other) = (world.application(None), world.application(None));
    let hanging: Vec<_> = (0..3).map(|_| world.endpoint(one, None)).collect();
    for id in &hanging {
        world.takes.insert(*id, 30 * SECOND);
        world.offer(*id, 1);
    }
    let stranger = world.endpoint(other, None);
    world.takes.insert(stranger, SECOND);
    world.offer(stranger, 1);
    let quick = world.endpoint(one, None);
    world.offer(quick, 1);
    assert_eq!((world.lanes.depths().2, world.sent_to(quick)), (4, 0), "one place is for others");
    world.pass(2 * SECOND);
    assert_eq!(world.sent_to(quick), 1);
}

#[test]
fn one_application_has_three_quarters_of_all_places_rounded_up() {
    for places in 1..=40 {
        let mut world = world(rules(places));
        let application = world.application(None);
        for _ in 0..places {
            let id = world.endpoint(application, None);
            world.takes.insert(id, SECOND);
            world.offer(id, 3);
        }
        assert_eq!(world.lanes.depths().2, (3 * places).div_ceil(4), "{places}");
        world.pass(60 * SECOND);
        assert_eq!(world.sent.len(), 3 * places);
    }
}
