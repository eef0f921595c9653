//! Records of a survey: their text, their numbers, what is lost.

use proptest::prelude::*;
use std::collections::VecDeque;
use teaming::Heap;
use teaming::event::survey::{ABOUTS, About, Form, LAST, NUMBERS, Record, Survey, head};
use teaming::event::text::Text;
use teaming::ids::Ticks;

fn text(record: &Record) -> String {
    let mut text = Text::<200>::EMPTY;
    record.write(&mut text);
    text.as_str().to_owned()
}

/// The longest text of a form.
fn longest(form: Form) -> u32 {
    match form {
        Form::Number | Form::Half | Form::Byte | Form::Hex | Form::Head => u32::MAX,
        Form::Word(words) => (0..words.len()).max_by_key(|at| words[*at].len()).expect("a word") as u32,
    }
}

#[test]
fn every_text_has_at_most_79_characters_whatever_the_numbers() {
    for &about in ABOUTS {
        assert!(about.fields().len() <= NUMBERS, "{about:?}");
        let mut numbers = [0; NUMBERS];
        for (number, (_, form)) in numbers.iter_mut().zip(about.fields()) {
            *number = longest(*form);
        }
        let text = text(&Record { number: u16::MAX, about, numbers });
        assert!(text.len() <= 79 && !text.contains('?'), "{}: {text}", text.len());
    }
}

#[test]
fn the_first_name_tells_the_kind_and_a_text_has_every_number() {
    for (at, about) in ABOUTS.iter().enumerate() {
        let lead = about.fields()[0].0;
        assert!(ABOUTS[..at].iter().all(|other| other.fields()[0].0 != lead), "{lead} leads twice");
    }
    let record = Record { number: 17, about: About::Request, numbers: [0x10228, 2, 64, 40, 0x0018_0280] };
    assert_eq!(text(&record), "#17 oid=0x00010228 as=method in=64 out=40 head=128.2.24");
    let record = Record { number: 1, about: About::Request, numbers: [1, 9, 0, 0, 0] };
    assert_eq!(text(&record), "#1 oid=0x00000001 as=? in=0 out=0 head=0.0.0");
    assert_eq!(head(&[0x80, 2, 24, 0, 7]), 0x0018_0280);
    assert_eq!(head(&[0x80, 2, 24]), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16),
    Take,
    Refuse,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![(1..40_u16).prop_map(Step::Put), Just(Step::Take), Just(Step::Take), Just(Step::Refuse)];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Against a list: what comes out is what went in, in order; what did not come out is counted, and the numbers have
    /// a gap where it was.
    #[test]
    fn what_is_not_written_is_counted_and_leaves_a_gap(steps in steps()) {
        const ROOM: usize = 16;
        let mut survey = Survey::<Heap>::new(vec![Survey::<Heap>::NONE; ROOM]);
        let (mut waits, mut last, mut lost, mut value) = (VecDeque::new(), 0_u16, 0_u32, 0_u32);
        for step in steps {
            match step {
                Step::Put(count) => {
                    for _ in 0..count {
                        value += 1;
                        last += 1;
                        survey.put(Ticks::new(value.into()), About::Other, [value, 0, 0, 0, 0]);
                        if waits.len() < ROOM {
                            waits.push_back((last, value));
                        } else {
                            lost += 1;
                        }
                    }
                }
                Step::Take | Step::Refuse => {
                    let told = survey.is_behind();
                    let taken = survey.take(Ticks::ZERO, true);
                    match (waits.pop_front(), taken) {
                        (Some((number, value)), Some((at, record))) => {
                            prop_assert_eq!((record.number, record.numbers[0]), (number, value));
                            prop_assert_eq!(at, Ticks::new(value.into()));
                            if matches!(step, Step::Refuse) {
                                survey.refused(record.about);
                                lost += 1;
                            }
                        }
                        (None, Some((_, record))) => {
                            last += 1;
                            prop_assert!(told);
                            prop_assert_eq!((record.number, record.about, record.numbers[0]), (last, About::Lost, lost));
                            prop_assert!(!survey.is_behind());
                            if matches!(step, Step::Refuse) {
                                survey.refused(record.about);
                                prop_assert!(survey.is_behind());
                            }
                        }
                        (None, None) => prop_assert!(!told),
                        (Some(_), None) => prop_assert!(false, "it waits"),
                    }
                }
            }
        }
        // Where losses are not to be told, only what waits comes.
        while survey.take(Ticks::ZERO, false).is_some() {
            prop_assert!(waits.pop_front().is_some());
        }
        prop_assert!(waits.is_empty());
    }
}

#[test]
fn the_last_number_ends_it_and_losses_are_then_told_seldom() {
    let mut survey = Survey::<Heap>::new(vec![Survey::<Heap>::NONE; 4]);
    let mut told = Vec::new();
    for value in 0..1_000_000 {
        survey.put(Ticks::ZERO, About::Other, [value, 0, 0, 0, 0]);
        while let Some((_, record)) = survey.take(Ticks::ZERO, true) {
            if record.number == LAST {
                told.push((record.about, record.numbers[0]));
            }
        }
    }
    assert_eq!(told[0], (About::Survey, 3));
    assert!(told[1..].iter().all(|(about, _)| *about == About::Lost) && told.len() < 25, "{told:?}");
    assert!(told.last().expect("some").1 > 400_000, "{told:?}");
}
