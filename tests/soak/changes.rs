//! Those who change: keys are made, narrowed, widened, bound, paced, let expire, rotated and revoked, workspaces
//! suspended and taken back, while everybody calls.
//!
//! What is asked for is noted before it is sent and settled when it is acknowledged. A change whose acknowledgement was
//! cut off is asked for again where that means the same; where it does not, its key is revoked.
//!
//! Never here: a judgement.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyward::domain::time::Wall;
use serde_json::{Value, json};

use super::clients::World;
use super::harness::hidden::Hidden;
use super::harness::program::text;
use super::harness::random::Random;
use super::harness::wire::{Answer, Call, Connection};
use super::truth::{Held, Key, KeyState, Timeline, Workspace, wall_secs};

/// Keys that are called with, the youngest. What is revoked stays among them until it is older than all of these.
const KEYS_MAX: usize = 48;
/// Between two changes of one who changes, at the most.
const PAUSE_MILLIS_MAX: u64 = 500;

/// Changes until the time is over.
pub(crate) async fn change(world: Arc<World>, workspaces: Vec<Arc<Workspace>>, mut random: Random) {
    while !world.is_over() {
        let workspace = Arc::clone(&workspaces[random.below(workspaces.len())]);
        match random.up_to(19) {
            0..=2 => make_key(&world, &workspace, &mut random).await,
            3 => suspend_for_a_moment(&world, &workspace, &mut random).await,
            _ => change_a_key(&world, &mut random).await,
        }
        tokio::time::sleep(Duration::from_millis(random.up_to(PAUSE_MILLIS_MAX))).await;
    }
}

/// An admin call; nothing when its answer is cut off, or nobody listens.
async fn admin(world: &World, call: Call) -> Option<Answer> {
    let place = world.place().await;
    let call = call.bearer(&place.admin_key);
    let mut connection = Connection::open(place.admin).await.ok()?;
    connection.send(&call.bytes(place.admin)).await;
    connection.answer_unless_cut(&call.method).await
}

/// An admin call that means the same when it is made twice, until it is acknowledged.
async fn admin_until_told(world: &World, call: &Call) -> Value {
    loop {
        match admin(world, call.clone()).await {
            Some(answer) if answer.status == 200 => return answer.json(),
            Some(answer) => panic!("a change was refused: {answer:?}"),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Makes a key and lets everybody call with it. One whose answer was cut off is nobody's.
pub(crate) async fn make_key(world: &World, workspace: &Arc<Workspace>, random: &mut Random) {
    let held = if random.up_to(1) == 0 { Held::Everything } else { any_held(random) };
    let wanted = json!({
        "workspace_id": workspace.id,
        "permissions": held.permissions(),
        "rate": {"limit": 1_000_000, "window_s": 1},
    });
    let Some(answer) = admin(world, Call::post("/api/v1/keys", &wanted)).await else { return };
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    let state = KeyState {
        held,
        is_revoked: false,
        is_bound: false,
        is_paced: false,
        expires_at: None,
        texts: vec![(0, None)],
    };
    let key = Arc::new(Key {
        id: text(&made["id"]),
        workspace: Arc::clone(workspace),
        texts: Mutex::new(vec![Hidden(text(&made["key"]))]),
        states: Timeline::new(state),
        changing: tokio::sync::Mutex::default(),
    });
    let mut keys = world.keys.lock().unwrap();
    keys.push(key);
    if keys.len() > KEYS_MAX {
        keys.remove(0);
    }
    drop(keys);
    world.report.changed("a key made");
}

fn any_held(random: &mut Random) -> Held {
    Held::ALL[random.below(Held::ALL.len())]
}

async fn suspend_for_a_moment(world: &World, workspace: &Workspace, random: &mut Random) {
    let Ok(_changing) = workspace.changing.try_lock() else { return };
    for (status, is_suspended) in [("suspended", true), ("active", false)] {
        let path = format!("/api/v1/workspaces/{}", workspace.id);
        workspace.is_suspended.ask(is_suspended);
        admin_until_told(world, &Call::new("PATCH", &path).json(&json!({"status": status}))).await;
        workspace.is_suspended.settle(is_suspended);
        tokio::time::sleep(Duration::from_millis(random.up_to(300))).await;
    }
    world.report.changed("a workspace suspended, and taken back");
}

async fn change_a_key(world: &World, random: &mut Random) {
    let key = {
        let keys = world.keys.lock().unwrap();
        Arc::clone(&keys[random.below(keys.len())])
    };
    let Ok(_changing) = key.changing.try_lock() else { return };
    let state = key.states.newest();
    if state.is_revoked {
        return;
    }
    // What stops a key altogether is mostly taken back soon, or few would pass.
    let choice = match random.up_to(1) {
        0 if state.is_bound => 5,
        0 if state.is_paced => 7,
        _ => random.up_to(9),
    };
    match choice {
        0 => revoke(world, &key).await,
        1 | 2 => rotate(world, &key, state, random.up_to(1) * (1 + random.up_to(3))).await,
        3 | 4 => {
            let held = any_held(random);
            let fields = json!({"permissions": held.permissions()});
            patch(world, &key, KeyState { held, ..state }, fields, "permissions").await;
        }
        5 | 6 => {
            let is_bound = !state.is_bound;
            let fields = json!({"ip_allow": if is_bound { json!(["192.0.2.0/24"]) } else { Value::Null }});
            patch(world, &key, KeyState { is_bound, ..state }, fields, "addresses").await;
        }
        7 | 8 => {
            let is_paced = !state.is_paced;
            let limit = if is_paced { 0 } else { 1_000_000 };
            let fields = json!({"rate": {"limit": limit, "window_s": 1}});
            patch(world, &key, KeyState { is_paced, ..state }, fields, "rate").await;
        }
        _ if state.expires_at.is_none() => {
            let at = wall_secs().floor() + 8.0;
            #[expect(clippy::cast_possible_truncation, reason = "seconds of this century")]
            let told = Wall::from_secs(at as i64).to_rfc3339();
            let expires_at = Some(at);
            patch(world, &key, KeyState { expires_at, ..state }, json!({"expires_at": told}), "expiry").await;
        }
        _ => {}
    }
}

async fn patch(world: &World, key: &Key, state: KeyState, fields: Value, what: &'static str) {
    key.states.ask(state.clone());
    let call = Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&fields);
    admin_until_told(world, &call).await;
    key.states.settle(state);
    world.report.changed(what);
}

async fn revoke(world: &World, key: &Key) {
    let state = KeyState { is_revoked: true, ..key.states.newest() };
    key.states.ask(state.clone());
    admin_until_told(world, &Call::post(&format!("/api/v1/keys/{}/revoke", key.id), &json!({}))).await;
    key.states.settle(state);
    world.report.changed("a key revoked");
}

/// Gives a key another text. The ones before are good for the overlap, or not at all.
async fn rotate(world: &World, key: &Key, state: KeyState, overlap_secs: u64) {
    // Two texts at most: a third waits until the older one is surely gone, or ends both.
    let latest = state.texts.iter().filter_map(|(_, until)| *until).fold(0.0, f64::max);
    if overlap_secs > 0 && wall_secs() < latest + 2.0 {
        return;
    }
    let newest = state.texts.last().map(|(number, _)| *number);
    let ended = |until: f64| {
        let texts = newest.filter(|_| overlap_secs > 0).map(|number| (number, Some(until)));
        KeyState { texts: texts.into_iter().collect(), ..state.clone() }
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let overlap = overlap_secs as f64;
    key.states.ask(ended(wall_secs() + overlap));
    let call = Call::post(&format!("/api/v1/keys/{}/rotate", key.id), &json!({"overlap_s": overlap_secs}));
    let Some(answer) = admin(world, call).await else {
        // Its new text is nobody's, and whether the old one goes on is not known.
        revoke(world, key).await;
        return;
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let made = answer.json();
    let until = made["previous"]["ends_at"].as_str().and_then(Wall::parse);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century")]
    let mut state = ended(until.map_or(0.0, |until| until.micros() as f64 / 1e6));
    let number = {
        let mut texts = key.texts.lock().unwrap();
        texts.push(Hidden(text(&made["key"])));
        texts.len() - 1
    };
    state.texts.push((number, None));
    key.states.settle(state);
    world.report.changed(if overlap_secs > 0 { "a key rotated, with an overlap" } else { "a key rotated" });
}
