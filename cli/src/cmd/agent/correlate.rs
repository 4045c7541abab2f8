//! How many Events there are of what happens again and again: client-go's EventCorrelator, by which the kubelet's go.
//!
//! What is the same is counted in one Event; what is similar, a pod's with one reason, is combined after ten in ten minutes; and a pod
//! has 25 at once and one more every five minutes. Its clock is the journal's: who reads the same lines again comes to
//! the same Events.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::notice::Notice;

/// So many similar ones are told apart.
const SIMILAR: usize = 10;
/// Within so many ms.
const SIMILAR_WITHIN: u64 = 10 * 60 * 1000;
/// So many of a pod at once.
const BURST: u64 = 25;
/// And one more after so many ms.
const REFILL: u64 = 5 * 60 * 1000;
/// When it has all of them again, ms.
const FULL: u64 = BURST * REFILL;
/// The API server keeps an Event for an hour, ms.
pub(super) const EVENT_AGE: u64 = 60 * 60 * 1000;
/// So much is remembered of each kind.
const MOST: usize = 1024;

/// What it remembers; it outlives the agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Correlator {
    similar: BTreeMap<String, Similar>,
    seen: BTreeMap<String, Seen>,
    tokens: BTreeMap<String, Tokens>,
    /// The journal's time.
    now: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Similar {
    /// What told them apart.
    messages: BTreeSet<String>,
    last: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    name: String,
    first: u64,
    last: u64,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tokens {
    /// In ms of refilling.
    saved: u64,
    last: u64,
}

/// An Event as it is to be now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counted {
    pub(super) notice: Notice,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
}

impl Correlator {
    /// None: a pod has too many.
    pub(super) fn take(&mut self, mut notice: Notice) -> Option<Counted> {
        // A clock that is set back takes nothing away.
        self.now = self.now.max(notice.time);
        let now = self.now;
        self.forget();
        let object = format!("{}/{}/{}", notice.namespace, notice.pod, notice.uid);
        let kind = format!("{object}\n{}", notice.reason);
        let similar = self.similar.entry(kind.clone()).or_default();
        if now.saturating_sub(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(notice.what.clone());
        let key = if similar.messages.len() < SIMILAR {
            format!("{kind}\n{}\n{}", notice.container, notice.what)
        } else {
            similar.messages.pop_last();
            notice.message = format!("(combined from similar events): {}", notice.message);
            kind
        };
        let seen = self.seen.entry(key).or_insert_with(|| Seen {
            name: notice.name.clone(),
            first: now,
            last: now,
            count: 0,
        });
        seen.count = seen.count.saturating_add(1);
        seen.last = now;
        notice.name.clone_from(&seen.name);
        let counted = Counted {
            notice,
            first: seen.first,
            last: seen.last,
            count: seen.count,
        };
        self.may(object, now).then_some(counted)
    }

    /// Takes one of the pod's tokens, where it has one.
    fn may(&mut self, object: String, now: u64) -> bool {
        let tokens = self.tokens.entry(object).or_insert(Tokens {
            saved: FULL,
            last: now,
        });
        let since = now.saturating_sub(tokens.last);
        (tokens.saved, tokens.last) = (tokens.saved.saturating_add(since).min(FULL), now);
        match tokens.saved.checked_sub(REFILL) {
            Some(left) => {
                tokens.saved = left;
                true
            }
            None => false,
        }
    }

    fn forget(&mut self) {
        let now = self.now;
        bound(&mut self.similar, now, SIMILAR_WITHIN, |one| one.last);
        bound(&mut self.seen, now, EVENT_AGE, |one| one.last);
        bound(&mut self.tokens, now, FULL, |one| one.last);
    }
}

/// Drops what is too old, and what is the oldest where there is too much.
pub(super) fn bound<V>(
    map: &mut BTreeMap<String, V>,
    now: u64,
    age: u64,
    last: impl Fn(&V) -> u64,
) {
    map.retain(|_, one| now.saturating_sub(last(one)) <= age);
    while map.len() >= MOST {
        let oldest = map.iter().min_by_key(|(_, one)| last(one));
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    fn notice(n: u64, message: &str, time: u64) -> Notice {
        Notice {
            namespace: "shop".to_owned(),
            pod: "web-0".to_owned(),
            uid: "u".to_owned(),
            container: "nginx".to_owned(),
            reason: "FailedPreStopHook",
            message: message.to_owned(),
            what: message.to_owned(),
            time,
            name: format!("web-0.{n}"),
        }
    }

    #[test]
    fn the_same_is_one_event_that_counts() {
        let mut correlator = Correlator::default();
        let first = correlator.take(notice(1, "no", START)).unwrap();
        assert_eq!((first.count, &*first.notice.name), (1, "web-0.1"));
        let second = correlator.take(notice(2, "no", START + 5)).unwrap();
        assert_eq!((second.count, &*second.notice.name), (2, "web-0.1"));
        assert_eq!((second.first, second.last), (START, START + 5));
        // The API server has forgotten it.
        let later = correlator.take(notice(3, "no", START + EVENT_AGE + 6));
        let later = later.unwrap();
        assert_eq!((later.count, &*later.notice.name), (1, "web-0.3"));
    }

    #[test]
    fn the_tenth_that_is_similar_is_combined_with_those_that_follow() {
        let mut correlator = Correlator::default();
        let mut take = |n: u64| {
            correlator
                .take(notice(n, &format!("error {n}"), START + n))
                .unwrap()
        };
        for n in 1..10 {
            let one = take(n);
            assert_eq!(
                (one.count, &*one.notice.message),
                (1, &*format!("error {n}"))
            );
        }
        let tenth = take(10);
        assert_eq!(
            tenth.notice.message,
            "(combined from similar events): error 10"
        );
        let eleventh = take(11);
        assert_eq!((eleventh.count, &*eleventh.notice.name), (2, "web-0.10"));
        let later = notice(12, "error 12", START + 12 + SIMILAR_WITHIN);
        assert_eq!(correlator.take(later).unwrap().notice.message, "error 12");
    }

    #[test]
    fn a_pod_has_25_and_one_more_every_five_minutes() {
        let mut correlator = Correlator::default();
        let taken = |correlator: &mut Correlator, time| correlator.take(notice(1, "no", time));
        let at_once = (0..40).filter_map(|_| taken(&mut correlator, START));
        assert_eq!(at_once.count(), 25);
        assert_eq!(taken(&mut correlator, START + REFILL - 1), None);
        // What was not told is counted.
        let next = taken(&mut correlator, START + REFILL).unwrap();
        assert_eq!(next.count, 42);
        assert_eq!(taken(&mut correlator, START + REFILL), None);
        // Another pod has its own.
        let mut other = notice(1, "no", START);
        other.uid = "v".to_owned();
        assert!(correlator.take(other).is_some());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut correlator = Correlator::default();
        for n in 0..3000 {
            let mut one = notice(n, "no", START + n);
            one.uid = n.to_string();
            correlator.take(one);
        }
        for len in [
            correlator.similar.len(),
            correlator.seen.len(),
            correlator.tokens.len(),
        ] {
            assert!(len <= MOST, "{len}");
        }
    }
}
