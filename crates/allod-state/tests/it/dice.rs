//! Choices read from bytes: a fuzzer's input, or a property test's. Bytes that have run out choose the first of everything.

/// Bytes that choose.
pub(crate) struct Dice<'a> {
    bytes: &'a [u8],
}

impl<'a> Dice<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()].clone()
    }

    /// Yes, once in so many times.
    pub(crate) fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// Some of these.
    pub(crate) fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let which = self.byte();
        let is_chosen = |at: usize| which >> (at % 8) & 1 == 1;
        let chosen = of.iter().enumerate().filter(|(at, _)| is_chosen(*at));
        chosen.map(|(_, one)| one.clone()).collect()
    }
}
