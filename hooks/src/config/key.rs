//! What a key of the node's configuration is, and what the keys of one topic make together.

use crate::lifecycle::FieldError;
use crate::lifecycle::reader::{At, Fields};

/// One key: all that there is to say of it, but where its value is used.
pub(super) trait Key {
    /// What a value becomes.
    type Value: Default;

    /// What it is called in the file.
    const NAME: &'static str;
    /// What it is called in the table of docs/configuration.md.
    const SHOWN: &'static str = Self::NAME;
    /// What it means, in that table: Markdown.
    const MEANING: &'static str;
    /// What holds without it, in that table: Markdown.
    const DEFAULT: &'static str;

    /// What holds without it: the value's own default, where the key has no other.
    fn default() -> Self::Value {
        Self::Value::default()
    }

    /// Reads what the file gives.
    fn read(at: At) -> Result<Self::Value, FieldError>;
}

/// The keys of one topic, which reach their use together: what `keys!` makes.
pub(super) trait Topic: Default {
    /// What the keys are called.
    const NAMES: &'static [&'static str];
    /// What the table says of them. Apart from the names, which every shim has in its memory.
    const ROWS: &'static [Row];

    /// Takes their values; those that are not there have their defaults.
    fn read(fields: &mut Fields) -> Result<Self, FieldError>;
}

/// A line of the table.
pub(super) struct Row {
    pub(super) shown: &'static str,
    pub(super) meaning: &'static str,
    pub(super) default: &'static str,
}

impl Row {
    pub(super) const fn of<K: Key>() -> Row {
        Row {
            shown: K::SHOWN,
            meaning: K::MEANING,
            default: K::DEFAULT,
        }
    }
}

pub(super) fn value<K: Key>(fields: &mut Fields) -> Result<K::Value, FieldError> {
    match fields.take(K::NAME) {
        Some(at) => K::read(at),
        None => Ok(K::default()),
    }
}

/// Makes a topic: a struct with a field for each of its keys. A [`Key`] that is in no topic is dead code to the compiler.
macro_rules! keys {
    ($(#[$attribute:meta])* $topic:ident { $($field:ident: $value:ty = $key:ident,)+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $topic {
            $(#[doc = concat!("The value of the key `", stringify!($key), "`.")]
            pub $field: $value,)+
        }

        impl Default for $topic {
            fn default() -> Self {
                Self { $($field: <$key as $crate::config::key::Key>::default(),)+ }
            }
        }

        impl $crate::config::key::Topic for $topic {
            const NAMES: &'static [&'static str] = &[$(<$key as $crate::config::key::Key>::NAME,)+];
            const ROWS: &'static [$crate::config::key::Row] = &[$($crate::config::key::Row::of::<$key>(),)+];

            fn read(
                fields: &mut $crate::lifecycle::reader::Fields,
            ) -> Result<Self, $crate::lifecycle::FieldError> {
                Ok(Self { $($field: $crate::config::key::value::<$key>(fields)?,)+ })
            }
        }
    };
}
pub(super) use keys;
