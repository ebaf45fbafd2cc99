//! One unit left and two hundred who want it: it is sold once, a thousand times over.
//!
//! The limit rises by one before each round, so what every round finds is a month in which one call is left,
//! and a sale too many in any round is seen in the ones behind it as well.
//!
//! Never here: a caller that is refused for another reason than the month.

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;

/// Times that there is one unit left.
const ROUNDS: u64 = 1_000;
/// Calls at once in each.
const CALLS: usize = 200;
/// Tasks that share them; the runtime has a thread for each.
const TASKS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_calls_at_once_with_one_unit_left_exactly_one_is_admitted_1000_times() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[GENERATE]).await;
    let never_refused = Rate::new(1_000_000_000, 3_600, None).unwrap();
    let patch = KeyPatch { rate: Some(Some(never_refused.into())), ..KeyPatch::default() };
    world.engine.update_key(Actor::System, id, patch).await.unwrap();
    let wanted = Wanted::Known(world.profile.requirement(&Permission::parse(GENERATE).unwrap()).unwrap());
    for round in 1..=ROUNDS {
        let meters = [("ai".to_owned(), Some(round))].into();
        let one_more = WorkspacePatch { meters, ..WorkspacePatch::default() };
        world.engine.update_workspace(Actor::System, workspace, one_more).await.unwrap();
        let admitted = at_once(&world, &key, &wanted).await;
        assert_eq!(admitted, 1, "round {round}");
        assert_eq!(world.engine.meters(workspace).await.unwrap()[0].used, round, "round {round}");
    }
}

/// Calls `CALLS` times at once and tells how many were admitted; the others found the month used up.
async fn at_once(world: &World, key: &RawKey, wanted: &Wanted) -> usize {
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (engine, profile, wanted) =
            (Arc::clone(&world.engine), Arc::clone(&world.profile), wanted.clone());
        let (text, start) = (key.reveal().to_owned(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            // Within a task they all begin before any of them is waited for.
            let mut calls: Vec<_> = (0..CALLS / TASKS)
                .map(|_| {
                    Box::pin(engine.verify(Attempt {
                        door: Door::Verify,
                        profile: &profile,
                        credential: Ok(text.as_bytes()),
                        wanted: wanted.clone(),
                        address: None,
                        cost: 1,
                    }))
                })
                .collect();
            let mut admitted = 0;
            std::future::poll_fn(|context| {
                calls.retain_mut(|call| match call.as_mut().poll(context) {
                    std::task::Poll::Pending => true,
                    std::task::Poll::Ready(Ok(_)) => {
                        admitted += 1;
                        false
                    }
                    std::task::Poll::Ready(Err(refusal)) => {
                        assert_eq!(refusal.name(), "quota");
                        false
                    }
                });
                if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            admitted
        });
    }
    tasks.join_all().await.into_iter().sum()
}
