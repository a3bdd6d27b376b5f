//! A value that must not leak by accident.

use zeroize::Zeroize;

/// Holds a secret: it cannot be printed, serialised or copied, and is overwritten when dropped. It lives on the heap, so
/// that moving the holder leaves no copy behind.
pub struct Secret<T: Zeroize>(Box<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The secret itself, to be filled in its place.
    pub(crate) const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// The secret itself. What the caller copies out of it is the caller's to protect.
    #[must_use]
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
