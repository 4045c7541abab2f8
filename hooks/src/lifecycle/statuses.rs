//! Which HTTP statuses are a success.

/// A range of statuses; the default is 200–399.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// Every one, as for the kubelet's hooks.
    pub const ANY: Statuses = Statuses {
        first: 0,
        last: u16::MAX,
    };

    /// `any`, or `200-399`.
    pub fn parse(text: &str) -> Option<Statuses> {
        if text == "any" {
            return Some(Self::ANY);
        }
        let (first, last) = text.split_once('-')?;
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.filter(|number| (100..=599).contains(number))
        };
        let (first, last) = (status(first)?, status(last)?);
        (first <= last).then_some(Statuses { first, last })
    }

    /// Whether this one is.
    pub fn contain(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl Default for Statuses {
    fn default() -> Statuses {
        Statuses {
            first: 200,
            last: 399,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_and_any_are_understood() {
        assert_eq!(Statuses::parse("200-399"), Some(Statuses::default()));
        assert!(
            Statuses::parse("204-204").is_some_and(|one| one.contain(204) && !one.contain(205))
        );
        assert!(Statuses::ANY.contain(999) && Statuses::parse("any") == Some(Statuses::ANY));
        for bad in [
            "",
            "200",
            "2xx",
            "399-200",
            "99-200",
            "200-600",
            "+20-399",
            "200-",
            "Any",
            "200 - 399",
        ] {
            assert_eq!(Statuses::parse(bad), None, "{bad}");
        }
    }
}
