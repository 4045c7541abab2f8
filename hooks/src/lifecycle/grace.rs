//! The grace period.

use std::time::Duration;

use super::annotations::Annotations;
use super::handlers::MAX_SECONDS;
use super::model::Lifecycle;

/// Kubernetes' default.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The pod's grace period, as the kubelet writes it.
const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

/// G: the lifecycle's own `terminationGracePeriodSeconds`, else the pod's, else the default. The pod's
/// comes from the kubelet and not from the user: where it is no number of seconds it is passed over.
pub fn grace_period(
    annotations: &impl Annotations,
    lifecycle: Option<&Lifecycle>,
    default: Duration,
) -> Duration {
    let own = lifecycle.and_then(|lifecycle| lifecycle.termination_grace_period);
    own.or_else(|| {
        let seconds = annotations.value(POD_GRACE_PERIOD)?.parse::<u64>().ok()?;
        Some(Duration::from_secs(seconds.min(MAX_SECONDS.into())))
    })
    .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn grace(annotation: &str, own: Option<u64>) -> u64 {
        let annotations = BTreeMap::from([(POD_GRACE_PERIOD.to_owned(), annotation.to_owned())]);
        let lifecycle = Lifecycle {
            termination_grace_period: own.map(Duration::from_secs),
            ..Lifecycle::default()
        };
        grace_period(&annotations, Some(&lifecycle), DEFAULT_GRACE_PERIOD).as_secs()
    }

    #[test]
    fn the_lifecycles_own_wins_then_the_pods_then_the_default() {
        assert_eq!(grace("60", Some(5)), 5);
        assert_eq!(grace("60", Some(0)), 0);
        assert_eq!(grace("60", None), 60);
        assert_eq!(grace("0", None), 0);
        let none = BTreeMap::<String, String>::new();
        assert_eq!(
            grace_period(&none, None, DEFAULT_GRACE_PERIOD),
            DEFAULT_GRACE_PERIOD
        );
    }

    #[test]
    fn a_pods_value_that_is_no_number_is_passed_over() {
        for bad in ["", "-1", "30s", " 30", "1.5", "99999999999999999999999"] {
            assert_eq!(grace(bad, None), 30, "{bad:?}");
        }
        assert_eq!(grace("18446744073709551615", None), u64::from(MAX_SECONDS));
    }
}
