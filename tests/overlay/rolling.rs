//! Updates: a good one fails no question to producers, a bad one fails none at all.

use std::time::{Duration, Instant};

use crate::machine::{prepared, refusal_of, until};
use crate::stack::{STACK, Stack, deploy, deployment, images};

/// The port of the form can be of one container at a time, so a node has no form while that is replaced.
const FORM_AWAY_AT_MOST: Duration = Duration::from_secs(15);

#[test]
fn a_rolling_update_to_a_new_tag_fails_no_question_but_while_the_form_itself_is_replaced() {
    let stack = Stack::with_producers(2);
    let user = stack.user();
    let began = Instant::now();
    until("both answer", || (user.answered_since(began).len() == 2).then_some(()));
    let next = prepared("BRAMBLE_IMAGE_NEXT");
    assert_ne!(next, prepared("BRAMBLE_IMAGE"));
    deploy(&next);
    assert!(images().iter().all(|image| *image == next), "{:?}", images());
    let ended = Instant::now();
    until("the form answers", || (!user.answered_since(ended).is_empty()).then_some(()));
    let failed = user.failed_since(began);
    // By then all producers had been replaced; the form is the one that cannot be reached.
    let unreachable = |why: &str| !why.starts_with(|first: char| first.is_ascii_digit());
    assert!(failed.iter().all(|(_, why)| unreachable(why)), "answers that were none: {failed:?}");
    let (first, last) = (failed.first().expect("it was away"), failed.last().expect("it was away"));
    let away = last.0 - first.0;
    assert!(away < FORM_AWAY_AT_MOST, "the form was away for {away:?}");
    assert!(user.answered_since(began).len() >= 4, "two old ones and two new ones");
    println!("update: {:.1?} in all; producers: none failed; form away for {away:.1?}", ended - began);
}

#[test]
fn a_bad_update_is_taken_back_and_fails_no_question() {
    let stack = Stack::with_producers(2);
    let before = images();
    let user = stack.user();
    let began = Instant::now();
    let why = refusal_of(&mut deployment(STACK, &prepared("BRAMBLE_IMAGE_SICK")));
    assert!(why.contains("runs on as before") && why.contains("unhealthy"), "{why}");
    assert_eq!(images(), before);
    let asked = user.was_always_answered_since(began);
    println!("bad update: taken back after {:.1?}; {asked} questions, none failed", began.elapsed());
}
