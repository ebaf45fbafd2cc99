//! Signed requests without a socket: evidence, threads, and starts after a kill.
//!
//! Never here: how a header is read.

use std::sync::Barrier;

use super::*;
use crate::domain::signature::{Sent, SentSignature, Signable};
use crate::domain::usage::Place;

const REQUEST: Signable<'_> = Signable { method: "GET", path: "/", query: None, body: b"{}" };
const STANDS: Wanted = Wanted::Known(Requirement {
    permission: None,
    paid: false,
    meter: None,
    bucket: None,
    place: Place::Other,
    cost: crate::domain::profile::Cost::ONE,
});

fn signature(raw: &RawKey, at: i64) -> Sent {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(raw.reveal().as_bytes()).unwrap();
    mac.update(format!("{at}.{{}}").as_bytes());
    let mac = hex::encode(mac.finalize().into_bytes());
    Sent::Signature(SentSignature::of_body(&at.to_string(), &mac).unwrap())
}

impl World {
    async fn signing_key(&self, workspace: WorkspaceId) -> (KeyId, RawKey) {
        let (id, raw) = self.key(workspace, &[]).await;
        let patch = KeyPatch { require_signature: Some(true), ..KeyPatch::default() };
        self.engine.update_key(Actor::System, id, patch).await.unwrap();
        (id, raw)
    }

    async fn caller(&self, raw: &RawKey) -> Caller {
        let text = Ok(raw.reveal().as_bytes());
        self.engine.identify(Door::Rest, &self.profile, &text, None).await.unwrap()
    }

    async fn signs(&self, raw: &RawKey, at: i64) -> Result<(), &'static str> {
        let mut caller = self.caller(raw).await;
        caller.check_signature(&signature(raw, at), &REQUEST);
        self.engine.admit(caller, &STANDS, 1).await.map(drop).map_err(|refusal| refusal.name())
    }
}

/// What the engine answers for does not hang on a door's care.
#[tokio::test]
async fn without_evidence_a_key_that_must_sign_passes_nowhere() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, raw) = world.signing_key(workspace).await;
    assert_eq!(world.wants(&raw, STANDS).await, Err("signature"));
    let admitted = world.engine.admit(world.caller(&raw).await, &STANDS, 1).await;
    assert_eq!(admitted.unwrap_err().name(), "signature");
    assert!(world.engine.rehearse(&world.caller(&raw).await, &STANDS, 1).is_err());
    let mut paced = world.caller(&raw).await;
    world.engine.pace(&mut paced);
    assert_eq!(world.engine.admit(paced, &STANDS, 1).await.unwrap_err().name(), "signature");
    // Announced and never brought: also where a key need not sign.
    let (_, free) = world.key(workspace, &[]).await;
    let mut caller = world.caller(&free).await;
    caller.announce_signature(&signature(&free, START));
    assert_eq!(world.engine.admit(caller, &STANDS, 1).await.unwrap_err().name(), "signature");
    assert_eq!(world.signs(&raw, START).await, Ok(()));
}

#[tokio::test]
async fn a_signature_is_of_the_key_that_was_proven() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let ((_, one), (_, other)) = (world.signing_key(workspace).await, world.signing_key(workspace).await);
    let mut caller = world.caller(&one).await;
    caller.check_signature(&signature(&other, START), &REQUEST);
    assert_eq!(world.engine.admit(caller, &STANDS, 1).await.unwrap_err().name(), "signature");
    assert_eq!(world.signs(&other, START).await, Ok(()), "it was not used");
}

#[tokio::test]
async fn of_equal_signatures_on_many_threads_one_is_taken() {
    const THREADS: usize = 8;
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, raw) = world.signing_key(workspace).await;
    for at in START - 20..START {
        let mut callers = Vec::new();
        for _ in 0..THREADS {
            let mut caller = world.caller(&raw).await;
            caller.check_signature(&signature(&raw, at), &REQUEST);
            callers.push(caller);
        }
        let (barrier, engine) = (Barrier::new(THREADS), &world.engine);
        let runtime = &tokio::runtime::Handle::current();
        let passed = std::thread::scope(|scope| {
            let admit = |caller| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    runtime.block_on(engine.admit(caller, &STANDS, 1)).is_ok()
                })
            };
            let running: Vec<_> = callers.into_iter().map(admit).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).filter(|passed| *passed).count()
        });
        assert_eq!(passed, 1);
        world.time.advance_micros(1_000_000);
    }
}

#[tokio::test]
async fn after_a_kill_stamps_up_to_five_seconds_ahead_are_refused_but_for_younger_keys() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, raw) = world.signing_key(workspace).await;
    assert_eq!(world.signs(&raw, START + 5).await, Ok(()));
    world.time.advance_micros(500_000);
    let world = world.restarted();
    world.engine.recover_replays().await.unwrap();
    for at in [START - 300, START, START + 5] {
        assert_eq!(world.signs(&raw, at).await, Err("signature"), "{at}");
    }
    let (_, young) = world.signing_key(workspace).await;
    assert_eq!(world.signs(&young, START).await, Ok(()));
    assert_eq!(world.signs(&young, START).await, Err("signature"));
    world.time.advance_micros(1_000_000);
    assert_eq!(world.signs(&raw, START + 5).await, Err("signature"));
    assert_eq!(world.signs(&raw, START + 6).await, Ok(()));
}

#[tokio::test]
async fn what_a_clean_stop_saved_is_known_to_one_start_alone() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, raw) = world.signing_key(workspace).await;
    assert_eq!(world.signs(&raw, START).await, Ok(()));
    world.engine.save_replays().await.unwrap();
    let world = world.restarted();
    world.engine.recover_replays().await.unwrap();
    assert_eq!(world.signs(&raw, START).await, Err("signature"));
    assert_eq!(world.signs(&raw, START + 1).await, Ok(()), "nothing holds up a new one");
    // Killed now: what was saved before is no word on what came since.
    world.time.advance_micros(1);
    let world = world.restarted();
    world.engine.recover_replays().await.unwrap();
    assert_eq!(world.signs(&raw, START + 1).await, Err("signature"));
    assert_eq!(world.signs(&raw, START + 2).await, Err("signature"));
}
