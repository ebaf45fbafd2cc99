//! Texts that only the slow hash can judge, through the whole engine: what a flood of wrong ones costs others.
//!
//! Never here: the pool by itself (`slow_hash`).

use std::net::Ipv4Addr;

use super::*;

const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
const ELSEWHERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

impl World {
    /// Starts again under another install secret: no stored fingerprint says anything any more.
    fn without_fingerprints(&self) -> Self {
        std::fs::remove_file(self.dir.path().join("secret")).unwrap();
        self.restarted()
    }

    async fn identified(&self, key: &RawKey, address: Option<IpAddr>) -> Result<(), Refusal> {
        let text = Ok(key.reveal().as_bytes());
        self.engine.identify(Door::Verify, &self.profile, &text, address).await.map(drop)
    }

    fn counted_failures(&self, address: Option<IpAddr>) -> u32 {
        self.engine.soft_delay.counted(origin(address), self.engine.clock.now().mono)
    }
}

/// Another well-formed text with the prefix of `key`.
pub(super) fn wrong_secret_for(key: &RawKey, number: u16) -> RawKey {
    let digits: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').collect();
    let mut random = [0; 64];
    for (byte, character) in random.iter_mut().zip(key.prefix().unwrap().as_bytes()) {
        *byte = u8::try_from(digits.iter().position(|digit| digit == character).unwrap()).unwrap();
    }
    random[8] = u8::try_from(number / 62).unwrap();
    random[9] = u8::try_from(number % 62).unwrap();
    let wrong = RawKey::mint(&Tag::parse("sk_live_").unwrap(), &random).unwrap();
    assert_eq!(wrong.prefix(), key.prefix());
    wrong
}

#[tokio::test]
async fn wrong_texts_that_cost_a_slow_hash_are_counted_by_address_and_a_right_one_forgets_them() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    // While the fingerprints speak, nothing is slow and nothing counts.
    assert_eq!(world.identified(&wrong_secret_for(&key, 0), HOME).await, Err(Denial::Unknown.into()));
    assert_eq!((world.counted_failures(HOME), world.engine.slow_hashes()), (0, 2));

    let world = world.without_fingerprints();
    for number in 0..3 {
        let wrong = wrong_secret_for(&key, number);
        assert_eq!(world.identified(&wrong, HOME).await, Err(Denial::Unknown.into()));
    }
    assert_eq!([HOME, ELSEWHERE].map(|address| world.counted_failures(address)), [3, 0]);
    let counts = (world.engine.slow_hashes(), world.engine.slow_hash_failures());
    assert_eq!(counts, (3, 3));

    assert_eq!(world.identified(&key, ELSEWHERE).await, Ok(()));
    assert_eq!(world.counted_failures(HOME), 3, "somebody else's success");
    assert_eq!(world.identified(&key, HOME).await, Ok(()), "warm by now, so not this one's either");
    assert_eq!(world.counted_failures(HOME), 3);
    let (_, other) = world.key(workspace, &[READ]).await;
    let world = world.without_fingerprints();
    assert_eq!(world.identified(&wrong_secret_for(&key, 1), HOME).await, Err(Denial::Unknown.into()));
    assert_eq!(world.identified(&other, HOME).await, Ok(()));
    assert_eq!(world.counted_failures(HOME), 0);
}

#[tokio::test]
async fn an_address_that_failed_often_is_slowed_and_never_locked_out() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    let world = world.without_fingerprints();
    for number in 0..6 {
        let wrong = wrong_secret_for(&key, number);
        assert_eq!(world.identified(&wrong, HOME).await, Err(Denial::Unknown.into()));
    }
    assert_eq!(world.identified(&key, HOME).await, Ok(()));
}

/// Attack C01 and C07.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flood_of_wrong_secrets_a_cold_key_is_proven_and_nobody_was_told_a_lie() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, attacked) = world.key(workspace, &[READ]).await;
    let (_, other) = world.key(workspace, &[READ]).await;
    let world = world.without_fingerprints();
    let flood: Vec<_> = (0..1000)
        .map(|number| {
            let wrong = wrong_secret_for(&attacked, number);
            let (engine, profile) = (Arc::clone(&world.engine), Arc::clone(&world.profile));
            let address = Some(IpAddr::from([10, 1, 0, u8::try_from(number % 200).unwrap()]));
            tokio::spawn(async move {
                let text = Ok(wrong.reveal().as_bytes());
                engine.identify(Door::Verify, &profile, &text, address).await.map(drop)
            })
        })
        .collect();
    // Its owner may have to come back, and is never told that the key is none.
    let busy = Refusal::Failed(Fault::Busy { retry_after_secs: 1 });
    for key in [&attacked, &other] {
        loop {
            match world.identified(key, HOME).await {
                Ok(()) => break,
                Err(refusal) => assert_eq!(refusal, busy),
            }
        }
    }
    for said in flood {
        let refusal = said.await.unwrap().unwrap_err();
        assert!(refusal == busy || refusal == Denial::Unknown.into(), "{refusal:?}");
    }
    assert_eq!(world.identified(&attacked, None).await, Ok(()));
}
