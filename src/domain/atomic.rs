//! The atomic words of this room, so that a model checker can put its own in their place.
//!
//! Under `--cfg keyward_loom` they are loom's, which tries every interleaving of the small tests below; else the
//! standard ones. The flag has a name of its own, since others of our crates change under `loom`.
//!
//! Never here: an operation on a word.

#[cfg(all(test, keyward_loom))]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(all(test, keyward_loom)))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(test, keyward_loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::{AtomicU64, Ordering};
    use crate::domain::counts::MeterRow;
    use crate::domain::hash::Fingerprint;
    use crate::domain::id::KeyId;
    use crate::domain::meter::PeriodMeter;
    use crate::domain::meter::lease::MeterReceipt;
    use crate::domain::meter::ledger::{Ledger, MeterTerms};
    use crate::domain::meter::thresholds::Thresholds;
    use crate::domain::period::Period;
    use crate::domain::proof::{ProofCell, TextName, samples::proof_of};
    use crate::domain::rate::Rate;
    use crate::domain::rate::bucket::Bucket;
    use crate::domain::time::{Mono, Wall};

    /// How many of so many takes by each of two threads pass.
    fn race(takes: usize, take: impl Fn() -> bool + Clone + Send + 'static) -> usize {
        let other = take.clone();
        let beside = thread::spawn(move || (0..takes).filter(|_| other()).count());
        let here = (0..takes).filter(|_| take()).count();
        here + beside.join().unwrap()
    }

    #[test]
    fn loom_a_bucket_of_two_gives_two_to_two_threads_that_take_twice() {
        loom::model(|| {
            let (bucket, rate) = (Arc::new(Bucket::default()), Rate::new(2, 60, None).unwrap());
            let taken = race(2, move || bucket.take(&rate, 1, Mono::from_nanos(0)).is_ok());
            assert_eq!(taken, 2);
        });
    }

    const NOW: Wall = Wall::from_secs(1_800_000_000);

    /// A ledger with two units of a month of `limit` in its lease.
    fn two_units(limit: u64) -> Ledger {
        let terms = MeterTerms { limit: Some(limit), admitted: Some(limit) };
        let mut ledger = Ledger::new(Period::containing(Wall::from_secs(0), NOW), terms);
        let spent = limit - 2;
        ledger.open(Some(&MeterRow { reserved: spent, used: spent, thresholds: Thresholds::default() }));
        write(&mut ledger);
        ledger
    }

    fn write(ledger: &mut Ledger) {
        let _row = ledger.draw_up(0, NOW);
        let free = ledger.settle(true);
        ledger.fill(free);
    }

    fn sell(meter: &PeriodMeter) -> bool {
        meter.sell(1).map(MeterReceipt::keep).is_some()
    }

    #[test]
    fn loom_a_lease_of_two_sells_two_to_two_threads_that_ask_twice() {
        loom::model(|| {
            let ledger = two_units(300);
            let meter = ledger.meter();
            assert_eq!(race(2, move || sell(&meter)), 2);
            assert_eq!(ledger.spent(), 300);
        });
    }

    #[test]
    fn loom_a_limit_that_falls_beside_a_sale_is_never_passed_by_a_later_one() {
        loom::model(|| {
            let mut ledger = two_units(300);
            let (meter, late) = (ledger.meter(), ledger.meter());
            let beside = thread::spawn(move || sell(&meter));
            ledger.set_terms(MeterTerms { limit: Some(299), admitted: Some(299) });
            let before = ledger.spent();
            let later = sell(&late);
            let sold = u64::from(beside.join().unwrap()) + u64::from(later);
            assert_eq!(ledger.spent(), 298 + sold);
            assert!(ledger.spent() <= 299 || before > 299, "{sold} sold");
            write(&mut ledger);
            assert_eq!(ledger.sell(1).map(MeterReceipt::keep).is_some(), sold == 0);
        });
    }

    #[test]
    fn loom_a_unit_that_comes_back_beside_a_write_is_neither_lost_nor_sold_twice() {
        loom::model(|| {
            let mut ledger = two_units(300);
            let receipt = ledger.sell(2).unwrap();
            let beside = thread::spawn(move || drop(receipt));
            write(&mut ledger);
            beside.join().unwrap();
            write(&mut ledger);
            let sold = (0..3).filter(|_| ledger.sell(1).map(MeterReceipt::keep).is_some()).count();
            assert_eq!((sold, ledger.spent()), (2, 300));
        });
    }

    /// What stands beside a proof is what was put with it, whether the same text is proven anew or another one comes.
    #[test]
    fn loom_a_proof_that_is_found_while_it_is_replaced_is_one_that_was_put() {
        for next in [3, 2] {
            let mut model = loom::model::Builder::new();
            // All interleavings take minutes and showed nothing more.
            model.preemption_bound = Some(3);
            model.check(move || replaced_by(next));
        }
    }

    fn replaced_by(next: u64) {
        let name =
            |number: u64| TextName::of(&Fingerprint::from_bytes([u8::try_from(number % 2).unwrap(); 32]));
        let proof = |number: u64| proof_of(KeyId::from_u128((u128::from(number) << 64) | u128::from(number)));
        let place = Arc::new((ProofCell::default(), AtomicU64::new(0)));
        let put = move |(cell, beside): &(ProofCell, AtomicU64), number: u64| {
            cell.put(name(number), proof(number), || beside.store(number, Ordering::SeqCst));
        };
        put(&place, 1);
        let replacing = thread::spawn({
            let place = Arc::clone(&place);
            move || put(&place, next)
        });
        if let Ok(Some((found, with))) = place.0.find(name(1), || place.1.load(Ordering::SeqCst)) {
            assert!(with == 1 || with == 3, "{with}");
            assert_eq!(found, proof(with));
        }
        replacing.join().unwrap();
        assert_eq!(place.0.find(name(next), || ()), Ok(Some((proof(next), ()))));
    }
}
