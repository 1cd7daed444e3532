//! One pass over a JSON text that refuses what two readers could understand in two ways:
//! the same key twice in one object (RFC 8259 §4 leaves that open), too much nesting, invalid
//! UTF-8, trailing data. What policy reads and what the tool reads is then the same value.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// Not JSON, not UTF-8, or something after the value.
    #[error("not one valid JSON value in UTF-8")]
    Syntax,
    /// A key stands twice in one object.
    #[error("an object has the same key twice")]
    DuplicateKey,
    /// Nested deeper than allowed.
    #[error("nested too deeply")]
    Depth,
}

/// Checks a whole text. `depth_max` counts arrays and objects.
///
/// # Errors
/// The first thing that is wrong, in reading order.
pub fn check(text: &[u8], depth_max: usize) -> Result<(), StrictError> {
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    // Our own depth limit is the lower one; the reader's guards its own recursion at 128.
    let seed = Seed { left: depth_max.min(120), fault: &fault };
    let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, fault.get()) {
        (Ok(()), None) => Ok(()),
        (_, Some(fault)) => Err(fault),
        (Err(_), None) => Err(StrictError::Syntax),
    }
}

#[derive(Clone, Copy)]
struct Seed<'f> {
    left: usize,
    fault: &'f Cell<Option<StrictError>>,
}

impl Seed<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => self.stop(StrictError::Depth),
        }
    }

    fn stop<T, E: Error>(self, fault: StrictError) -> Result<T, E> {
        self.fault.set(Some(fault));
        Err(E::custom(fault))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = Keys::default();
        while let Some(Key(key)) = members.next_key::<Key<'de>>()? {
            if !seen.insert(key) {
                return self.stop(StrictError::DuplicateKey);
            }
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// A key that borrows from the text where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Keys of one object: few are compared one by one, many are hashed.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    const FEW: usize = 12;

    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        if self.many.is_empty() && self.few.len() < Self::FEW {
            if self.few.contains(&key) {
                return false;
            }
            self.few.push(key);
            return true;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(key)
    }
}

/// True if the text is one JSON value; used where only the syntax matters.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
