//! What was uploaded or planned for one layer, for the next ones of the same pass.

use std::sync::{Mutex, PoisonError};

/// Values made lately, by what they were made of.
#[derive(Debug)]
pub(super) struct Memo<K, V> {
    /// The latest used last.
    kept: Mutex<Vec<(K, V)>>,
    most: usize,
}

impl<K: PartialEq, V: Clone> Memo<K, V> {
    /// Keeps at most so many values.
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), most }
    }

    /// The value of a key, which is made unless it is still there.
    pub(super) fn get<E>(&self, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = kept.iter().position(|(known, _)| *known == key) {
            let entry = kept.remove(index);
            let value = entry.1.clone();
            kept.push(entry);
            return Ok(value);
        }
        let value = make(&key)?;
        if kept.len() >= self.most {
            kept.remove(0);
        }
        kept.push((key, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let memo = Memo::new(2);
        let made = |key: i32, value: i32| memo.get(key, |_| Ok::<_, ()>(value));
        assert_eq!(made(1, 10), Ok(10));
        assert_eq!(made(2, 20), Ok(20));
        assert_eq!(made(1, 11), Ok(10));
        assert_eq!(made(3, 30), Ok(30));
        assert_eq!(made(2, 21), Ok(21));
        assert_eq!(made(3, 31), Ok(30));
        assert_eq!(memo.get(4, |_| Err::<i32, _>("failed")), Err("failed"));
    }
}
