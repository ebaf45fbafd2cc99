//! Believed time over clocks that do what clocks do.
//!
//! The model is what the promises say and nothing of how they are kept: never back, never further ahead than
//! monotonic time and the allowance give, and right again once the machine is.
//!
//! Never here: a real clock.

use proptest::prelude::*;

use super::*;

const START: Wall = Wall::from_secs(1_800_000_000);
const SEC: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SEC;
const DAY: u64 = 24 * HOUR;

/// A machine whose clock is off by `off` microseconds.
struct Machine {
    mono_micros: u64,
    off_micros: i64,
    believed: BelievedTime,
}

impl Machine {
    fn started() -> Self {
        let believed = BelievedTime::start(Now { wall: START, mono: Mono::from_nanos(0) }, None);
        Self { mono_micros: 0, off_micros: 0, believed }
    }

    fn reading(&self) -> Now {
        let wall = START.plus_micros(self.mono_micros).micros().saturating_add(self.off_micros);
        Now { wall: Wall::from_micros(wall), mono: Mono::from_nanos(self.mono_micros * 1_000) }
    }

    /// Lets time pass and ticks at its end.
    fn pass(&mut self, micros: u64) -> &mut Self {
        self.mono_micros += micros;
        self.believed.tick(self.reading());
        self
    }

    /// Sets the machine's clock so far off, and ticks.
    fn set(&mut self, off_micros: i64) -> &mut Self {
        self.off_micros = off_micros;
        self.pass(0)
    }

    fn now(&self) -> Wall {
        self.believed.line().at(self.reading().mono)
    }

    /// How far believed time is ahead of a clock that was never set, in microseconds.
    fn ahead(&self) -> i64 {
        self.now().micros() - START.plus_micros(self.mono_micros).micros()
    }
}

#[expect(clippy::cast_possible_wrap, reason = "small constants")]
const fn signed(micros: u64) -> i64 {
    micros as i64
}

#[test]
fn a_clock_that_goes_on_is_believed_to_the_microsecond_and_jitter_moves_nothing() {
    let mut machine = Machine::started();
    for jitter in [0, 900, -1_000, 1_000, -300, 0] {
        machine.set(jitter).pass(100_000);
        assert_eq!((machine.ahead(), machine.believed.state()), (0, ClockState::Ok), "{jitter}");
    }
}

#[test]
fn an_hour_ahead_is_believed_once_a_day_and_more_is_flagged_and_is_not() {
    let mut machine = Machine::started();
    machine.set(signed(HOUR));
    assert_eq!((machine.ahead(), machine.believed.state()), (signed(HOUR), ClockState::Ok));
    machine.set(signed(2 * HOUR));
    assert_eq!(machine.ahead(), signed(HOUR));
    assert_eq!(machine.believed.state(), ClockState::Ahead { by_micros: HOUR });
    machine.pass(12 * HOUR);
    assert_eq!(machine.believed.state(), ClockState::Ahead { by_micros: HOUR }, "half of it is back");
    machine.pass(12 * HOUR);
    assert_eq!((machine.ahead(), machine.believed.state()), (signed(2 * HOUR), ClockState::Ok));
    // A week of rest gives no more than one hour.
    machine.pass(7 * DAY).set(signed(3 * HOUR + 4 * SEC));
    assert_eq!(machine.believed.state(), ClockState::Ahead { by_micros: HOUR + 4 * SEC });
}

#[test]
fn a_wild_step_that_comes_back_leaves_nothing() {
    let mut machine = Machine::started();
    machine.set(signed(40 * DAY)).pass(HOUR);
    assert_eq!(machine.ahead(), 0);
    assert_eq!(machine.believed.state(), ClockState::Ahead { by_micros: 40 * DAY });
    machine.set(0);
    assert_eq!((machine.ahead(), machine.believed.state()), (0, ClockState::Ok));
}

#[test]
fn behind_a_clock_that_was_set_back_it_goes_on_at_half_speed_until_that_has_caught_up() {
    let mut machine = Machine::started();
    machine.pass(DAY);
    let before = machine.now();
    machine.set(-signed(HOUR));
    assert_eq!(machine.now(), before);
    assert_eq!(machine.believed.state(), ClockState::Behind { by_micros: HOUR });
    for _ in 0..10 {
        machine.pass(HOUR / 10);
    }
    assert_eq!(machine.now(), before.plus_micros(HOUR / 2));
    assert_eq!(machine.believed.state(), ClockState::Behind { by_micros: HOUR / 2 });
    machine.pass(HOUR);
    assert_eq!((machine.now(), machine.believed.state()), (machine.reading().wall, ClockState::Ok));
    machine.pass(HOUR);
    assert_eq!(machine.now(), machine.reading().wall, "at full speed again");
}

#[test]
fn what_half_speed_has_cost_is_made_up_for_freely_when_the_clock_comes_back() {
    let mut machine = Machine::started();
    machine.set(-signed(10 * HOUR)).pass(10 * HOUR);
    assert_eq!(machine.ahead(), -signed(5 * HOUR));
    machine.set(0);
    assert_eq!((machine.ahead(), machine.believed.state()), (0, ClockState::Ok));
    machine.set(signed(HOUR));
    assert_eq!(machine.ahead(), signed(HOUR), "the allowance is whole");
}

#[test]
fn e13_a_leap_second_smeared_or_not_is_neither_flagged_nor_a_way_back() {
    for second in [signed(SEC), -signed(SEC)] {
        let mut machine = Machine::started();
        let mut last = machine.now();
        for part in 1..=100 {
            machine.set(second * part / 100).pass(SEC);
            assert_eq!(machine.believed.state(), ClockState::Ok);
            assert!(machine.now() >= last);
            last = machine.now();
        }
        machine.pass(10 * SEC);
        assert!((machine.ahead() - second).abs() <= signed(JITTER_MICROS));
        // At one stroke, and back.
        let mut machine = Machine::started();
        for off in [second, 0, second] {
            machine.set(off).pass(10 * SEC);
            assert_eq!((machine.ahead(), machine.believed.state()), (off, ClockState::Ok));
        }
    }
}

#[test]
fn e13_two_readings_out_of_order_are_no_step_and_no_panic() {
    let mut machine = Machine::started();
    machine.pass(HOUR);
    let early = Now { wall: START.plus_micros(HOUR - 50), mono: Mono::from_nanos((HOUR - 70) * 1_000) };
    machine.set(-signed(HOUR));
    let last = machine.now();
    let before = machine.believed;
    machine.believed.tick(early);
    assert_eq!(machine.believed, before);
    machine.believed.tick(Now { wall: Wall::from_micros(0), ..machine.reading() });
    assert_eq!(machine.now(), last);
    machine.believed.tick(Now { wall: Wall::from_micros(i64::MAX), mono: Mono::from_nanos(u64::MAX) });
    assert!(machine.now() >= last);
}

#[test]
fn a_start_believes_the_later_of_machine_and_mark_and_flags_what_is_far_apart() {
    let start = |mark: Option<Wall>| {
        let reading = Now { wall: START, mono: Mono::from_nanos(5) };
        let believed = BelievedTime::start(reading, mark);
        (believed.line().at(reading.mono), believed.state())
    };
    let minus = |micros: u64| Wall::from_micros(START.micros() - signed(micros));
    assert_eq!(start(None), (START, ClockState::Ok));
    assert_eq!(start(Some(minus(DAY))), (START, ClockState::Ok));
    let long_off = ClockState::AheadAtStart { by_micros: DAY + 1 };
    assert_eq!(start(Some(minus(DAY + 1))), (START, long_off));
    let killed = START.plus_micros(2 * SEC);
    assert_eq!(start(Some(killed)), (killed, ClockState::Ok), "a killed daemon's mark is no reason to worry");
    let set_back = START.plus_micros(DAY);
    assert_eq!(start(Some(set_back)), (set_back, ClockState::Behind { by_micros: DAY }));
}

#[test]
fn an_operator_s_word_moves_time_either_way_and_ends_every_flag() {
    let mut machine = Machine::started();
    for off in [signed(40 * DAY), -signed(3 * DAY), 0] {
        machine.set(off);
        assert_ne!(machine.believed.state(), ClockState::Ok);
        machine.believed.confirm(machine.reading());
        assert_eq!((machine.ahead(), machine.believed.state()), (off, ClockState::Ok));
        machine.pass(SEC);
        assert_eq!((machine.ahead(), machine.believed.state()), (off, ClockState::Ok));
    }
    let reading = machine.reading();
    let mut believed = BelievedTime::start(reading, Some(Wall::from_secs(1)));
    believed.tick(reading);
    assert_eq!(believed.state().name(), "ahead_at_start", "a tick does not end it");
    believed.confirm(reading);
    assert_eq!(believed.state(), ClockState::Ok);
}

fn any_step() -> impl Strategy<Value = (u64, Option<i64>)> {
    let off = prop_oneof![
        4 => Just(None),
        2 => (-2_000i64..2_000).prop_map(Some),
        2 => (-5 * signed(SEC)..5 * signed(SEC)).prop_map(Some),
        2 => (-3 * signed(HOUR)..3 * signed(HOUR)).prop_map(Some),
        1 => (-400 * signed(DAY)..400 * signed(DAY)).prop_map(Some),
        1 => Just(Some(0)),
    ];
    let pass = prop_oneof![3 => 0u64..200_000, 2 => 0u64..10 * HOUR, 1 => 0u64..3 * DAY];
    (pass, off)
}

proptest! {
    #[test]
    fn it_never_goes_back_and_never_further_ahead_than_the_allowance_and_heals(
        mark in proptest::option::of(-3 * signed(DAY)..3 * signed(DAY)),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let mut machine = Machine::started();
        let mark = mark.map(|off| Wall::from_micros(START.micros() + off));
        machine.believed = BelievedTime::start(machine.reading(), mark);
        let begin = machine.now();
        prop_assert_eq!(begin, mark.unwrap_or(START).max(START));
        let mut last = begin;
        for (pass, off) in steps {
            // Between two ticks the line is read again and again.
            for part in [3, 2] {
                let at = Mono::from_nanos((machine.mono_micros + pass / part) * 1_000);
                prop_assert!(machine.believed.line().at(at) >= last);
                last = machine.believed.line().at(at);
            }
            machine.pass(pass);
            if let Some(off) = off {
                machine.set(off);
            }
            prop_assert!(machine.now() >= last);
            last = machine.now();
            let most = begin.plus_micros(machine.mono_micros + HOUR + machine.mono_micros / REFILL_PART);
            prop_assert!(last <= most, "{:?} behind {:?}", most, last);
        }
        // The machine's clock is right from here on. What is ahead of it melts; where believed time was left
        // behind it by more than the allowance, an operator is asked.
        let left_micros = machine.set(0).ahead().unsigned_abs();
        let is_behind_it = machine.ahead() < 0;
        machine.pass(2 * left_micros + DAY).pass(0);
        // Within a jitter of the allowance it may go either way: half a microsecond is lost at half speed.
        if is_behind_it && left_micros + JITTER_MICROS > HOUR {
            let is_ahead = matches!(machine.believed.state(), ClockState::Ahead { .. });
            prop_assert!(is_ahead || left_micros <= HOUR + JITTER_MICROS);
            machine.believed.confirm(machine.reading());
        }
        prop_assert!(machine.ahead().unsigned_abs() <= JITTER_MICROS, "{} off", machine.ahead());
        let is_well = matches!(machine.believed.state(), ClockState::Ok | ClockState::AheadAtStart { .. });
        prop_assert!(is_well);
    }
}
