//! The few protobuf messages of CRI that the shim reads: what it does not know is passed over.

use std::collections::BTreeMap;

use protobuf::{CodedInputStream, Result};

pub trait Message: Default {
    /// Reads the field of this number; whether there is one.
    fn field(&mut self, number: u32, input: &mut CodedInputStream<'_>) -> Result<bool>;

    fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        let mut input = CodedInputStream::from_bytes(bytes);
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            if !self.field(tag >> 3, &mut input)? {
                protobuf::rt::skip_field_for_tag(tag, &mut input)?;
            }
        }
        Ok(())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut message = Self::default();
        message.merge(bytes)?;
        Ok(message)
    }
}

/// What a field may be.
pub trait Field {
    fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()>;
}

macro_rules! scalars {
    ($($type:ty: $read:ident,)*) => {
        $(impl Field for $type {
            fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()> {
                *self = input.$read()?;
                Ok(())
            }
        })*
    };
}

scalars! {
    String: read_string,
    bool: read_bool,
    i32: read_int32,
    i64: read_int64,
    u32: read_uint32,
}

impl<M: Message> Field for Option<M> {
    fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()> {
        self.get_or_insert_default().merge(&input.read_bytes()?)
    }
}

impl<M: Message> Field for Vec<M> {
    fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()> {
        self.push(M::parse(&input.read_bytes()?)?);
        Ok(())
    }
}

impl Field for Vec<String> {
    fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()> {
        self.push(input.read_string()?);
        Ok(())
    }
}

impl Field for BTreeMap<String, String> {
    fn read(&mut self, input: &mut CodedInputStream<'_>) -> Result<()> {
        let entry = Entry::parse(&input.read_bytes()?)?;
        self.insert(entry.key, entry.value);
        Ok(())
    }
}

#[derive(Default)]
struct Entry {
    key: String,
    value: String,
}

impl Message for Entry {
    fn field(&mut self, number: u32, input: &mut CodedInputStream<'_>) -> Result<bool> {
        match number {
            1 => self.key.read(input)?,
            2 => self.value.read(input)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A message by its fields' numbers, names and types, as CRI's `api.proto` has them; as JSON it is as Go's encoder writes it.
macro_rules! message {
    ($($(#[$meta:meta])* $name:ident { $($number:literal $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
            pub struct $name {
                $(
                    #[serde(skip_serializing_if = "is_default")]
                    pub $field: $type,
                )*
            }

            impl Message for $name {
                fn field(&mut self, number: u32, input: &mut protobuf::CodedInputStream<'_>) -> protobuf::Result<bool> {
                    match number {
                        $($number => Field::read(&mut self.$field, input)?,)*
                        _ => return Ok(false),
                    }
                    Ok(true)
                }
            }
        )*
    };
}

pub(super) use message;
