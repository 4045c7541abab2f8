//! Enumerations whose values are written by name: in records, metrics, annotations and messages.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enumeration that [`named!`] declares.
pub trait Named: Copy + 'static {
    /// All values, in the order of messages.
    const ALL: &'static [Self];

    /// The name of this one.
    fn name(self) -> &'static str;
}

/// Declares an enumeration with the names of its values, so that the type, the list and the names cannot differ.
macro_rules! named {
    (
        $(#[$doc:meta])*
        $vis:vis enum $type:ident {
            $($(#[$value_doc:meta])* $value:ident = $name:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl $type {
            /// All of them, in the order of messages.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }

            /// The one of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl $crate::named::Named for $type {
            const ALL: &'static [Self] = Self::ALL;

            fn name(self) -> &'static str {
                Self::name(self)
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use named;

/// A value as a file names it: an open enumeration. Another version of podhook may have written the file: a name that this
/// version does not know is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenEnum<T> {
    /// One of the values that this version knows.
    Known(T),
    /// The name of another one; empty where the file has none.
    Unknown(String),
}

impl<T: Named> OpenEnum<T> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.name(),
            Self::Unknown(name) => name,
        }
    }

    /// The value, if this version knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> Default for OpenEnum<T> {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl<T> From<T> for OpenEnum<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Named> PartialEq<&str> for OpenEnum<T> {
    fn eq(&self, name: &&str) -> bool {
        self.as_str() == *name
    }
}

impl<T: Named> fmt::Display for OpenEnum<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: Named> Serialize for OpenEnum<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for OpenEnum<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = T::ALL.iter().find(|value| value.name() == name);
        Ok(known.map_or(Self::Unknown(name), |value| Self::Known(*value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    named! {
        /// A size.
        enum Size {
            /// Small.
            Small = "small",
            /// Large.
            Large = "large",
        }
    }

    #[test]
    fn a_name_is_read_as_its_value_and_a_newer_ones_is_kept() {
        let read = |json: &str| serde_json::from_str::<OpenEnum<Size>>(json);
        assert_eq!(read("\"large\"").unwrap().known(), Some(Size::Large));
        let newer = read("\"huge\"").unwrap();
        assert_eq!((newer.known(), newer.as_str()), (None, "huge"));
        assert_eq!(serde_json::to_string(&newer).unwrap(), "\"huge\"");
        assert!(read("3").is_err() && read("null").is_err());
    }

    #[test]
    fn every_value_comes_back_from_its_name() {
        for size in Size::ALL {
            assert_eq!(Size::named(&size.to_string()), Some(*size));
        }
        assert_eq!(Size::named("Large"), None);
    }
}
