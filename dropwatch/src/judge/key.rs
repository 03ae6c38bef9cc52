//! What makes two answers the same: a value of the cause's own type, compared and hashed without knowing it.

use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A key of any type: equal only to an equal one of the same type.
#[derive(Clone)]
pub struct Key(Arc<dyn AnyKey>);

impl Key {
    /// Wraps a cause's own type.
    #[must_use]
    pub fn of<K: Any + fmt::Debug + Eq + Hash + Send + Sync>(key: K) -> Self {
        Self(Arc::new(key))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(other.0.as_any())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What every key can do, whatever its type.
trait AnyKey: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn is(&self, other: &dyn Any) -> bool;
    fn feed(&self, state: &mut dyn Hasher);
}

impl<K: Any + fmt::Debug + Eq + Hash + Send + Sync> AnyKey for K {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn is(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<K>() == Some(self)
    }

    fn feed(&self, mut state: &mut dyn Hasher) {
        self.type_id().hash(&mut state);
        self.hash(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_of_different_types_are_never_equal() {
        #[derive(Debug, PartialEq, Eq, Hash)]
        struct Port(u16);
        let keys: HashSet<Key> = [
            Key::of(80_u16),
            Key::of(80_u16),
            Key::of(80_u32),
            Key::of(Port(80)),
            Key::of(81_u16),
        ]
        .into();
        assert_eq!(keys.len(), 4);
        assert!(keys.contains(&Key::of(Port(80))));
    }
}
