//! What holds whatever the outcomes are: sound states, exact resume, no matter the order of telling.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::tests::boxed;
use crate::optimize::testing::ask_all;
use crate::optimize::{CmaEs, Optimizer, Outcome, Reason};

/// Anything an evaluator may come up with.
fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => (0..5_u8).prop_map(|step| Outcome::Scored(f64::from(step))),
        4 => (-1e3..1e3_f64).prop_map(Outcome::Scored),
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, -0.0, 5e-324, f64::MIN_POSITIVE,
        ])
        .prop_map(Outcome::Scored),
        2 => Just(Outcome::Infeasible),
        2 => Just(Outcome::Lost),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_outcomes_leave_a_sound_state_and_candidates_inside(
        n in 1..5_usize,
        outcomes in prop::collection::vec(any_outcome(), 1..400),
    ) {
        let mut search = CmaEs::new(&boxed(n)).unwrap();
        for outcome in outcomes {
            let candidate = search.ask().expect("all are told at once");
            prop_assert!(candidate.x.iter().all(|x| (0.0..=1.0).contains(x)));
            search.tell(candidate.id, outcome).unwrap();
            prop_assert!(search.progress().state.distribution.is_sound());
            prop_assert!(search.stop().iter().all(|&reason| reason != Reason::Condition));
        }
    }

    #[test]
    fn the_order_of_telling_within_a_generation_does_not_matter(
        outcomes in prop::collection::vec(any_outcome(), 8 * 4),
        order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut forwards = CmaEs::new(&boxed(5)).unwrap();
        let mut shuffled = forwards.clone();
        for outcomes in outcomes.chunks_exact(8) {
            let candidates = ask_all(&mut forwards);
            prop_assert_eq!(&candidates, &ask_all(&mut shuffled));
            for (candidate, outcome) in candidates.iter().zip(outcomes) {
                forwards.tell(candidate.id, outcome.clone()).unwrap();
            }
            for &position in order.iter().filter(|&&position| position < candidates.len()) {
                shuffled.tell(candidates[position].id, outcomes[position].clone()).unwrap();
            }
            prop_assert_eq!(forwards.progress(), shuffled.progress());
        }
    }

    #[test]
    fn a_restored_search_continues_identically_from_any_moment(
        outcomes in prop::collection::vec(any_outcome(), 40..120),
        moment in 0..40_usize,
        ahead in 1..6_usize,
    ) {
        let mut search = CmaEs::new(&boxed(4)).unwrap();
        let mut restored: Option<CmaEs> = None;
        let mut waiting = VecDeque::new();
        for (told, outcome) in outcomes.iter().enumerate() {
            while waiting.len() < ahead {
                let Some(candidate) = search.ask() else { break };
                if let Some(restored) = &mut restored {
                    prop_assert_eq!(restored.ask(), Some(candidate.clone()));
                }
                waiting.push_back(candidate);
            }
            if told == moment {
                let text = serde_json::to_string(&search.state()).unwrap();
                let state = serde_json::from_str(&text).unwrap();
                let continued = CmaEs::restore(&state).unwrap();
                prop_assert_eq!(continued.pending(), Vec::from(waiting.clone()));
                restored = Some(continued);
            }
            let candidate = waiting.pop_back().expect("a generation that waits has candidates out");
            search.tell(candidate.id, outcome.clone()).unwrap();
            if let Some(restored) = &mut restored {
                restored.tell(candidate.id, outcome.clone()).unwrap();
                prop_assert_eq!(restored.state(), search.state());
                prop_assert_eq!(restored.status(), search.status());
            }
        }
    }

    #[test]
    fn replaying_the_outcomes_rebuilds_the_state(
        outcomes in prop::collection::vec(any_outcome(), 1..100),
    ) {
        let mut searches = [CmaEs::new(&boxed(3)).unwrap(), CmaEs::new(&boxed(3)).unwrap()];
        for search in &mut searches {
            for outcome in &outcomes {
                let candidate = search.ask().expect("all are told at once");
                search.tell(candidate.id, outcome.clone()).unwrap();
            }
        }
        prop_assert_eq!(searches[0].state(), searches[1].state());
    }
}
