//! The recovery phrase: a key as 24 words on paper.
//!
//! The words are the 32 bytes of the key's seed with a checksum, written as BIP-39 writes entropy (English list). So every
//! identity has a phrase, also one that was made before anybody asked for it, and the phrase is worth exactly as much as
//! the key: once the key is rotated, its phrase opens nothing. See `docs/adr/0009-recovery-phrase.md`.

use std::fmt::Write;

use allod_state::AccountId;
use bip39::{Language, Mnemonic};

use super::secret::Secret;
use super::{Identity, IdentityError, Subject};

/// How many words a phrase has.
pub const PHRASE_WORDS: usize = 24;
/// Longest phrase that is looked at, in bytes: 24 words with their numbers, and much air.
pub const PHRASE_BYTES_MAX: usize = 1024;
/// Longest word of the list, in bytes.
const WORD_BYTES_MAX: usize = 8;
const ROW_WORDS: usize = 4;

/// A key as words. It is as secret as the key.
pub struct Phrase(Secret<String>);

impl Phrase {
    /// Reads a phrase as people write it: in any case, over several lines, with the words numbered or not.
    ///
    /// # Errors
    /// Where it is none. The error names places, never words.
    pub fn read(text: &Secret<String>) -> Result<Self, IdentityError> {
        let text = text.expose();
        if text.len() > PHRASE_BYTES_MAX {
            return Err(IdentityError::PhraseLength { words: usize::MAX });
        }
        let is_number = |word: &&str| {
            word.bytes()
                .all(|b| b.is_ascii_digit() || b".):".contains(&b))
        };
        let words = || text.split_whitespace().filter(|word| !is_number(word));
        let count = words().count();
        if count != PHRASE_WORDS {
            return Err(IdentityError::PhraseLength { words: count });
        }
        // Room for the whole, so that growing leaves no copies behind.
        let mut plain = Secret::new(String::with_capacity(PHRASE_BYTES_MAX + PHRASE_WORDS));
        for word in words() {
            let plain = plain.expose_mut();
            if !plain.is_empty() {
                plain.push(' ');
            }
            plain.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        }
        match Mnemonic::parse_in_normalized(Language::English, plain.expose()) {
            Ok(_) => Ok(Self(plain)),
            Err(bip39::Error::UnknownWord(index)) => {
                Err(IdentityError::PhraseWord { place: index + 1 })
            }
            Err(_) => Err(IdentityError::PhraseChecksum),
        }
    }

    /// The words in one line.
    #[must_use]
    pub const fn words(&self) -> &Secret<String> {
        &self.0
    }

    /// The words in numbered rows, to be copied down.
    #[must_use]
    pub fn rows(&self) -> Secret<String> {
        let mut rows = Secret::new(String::with_capacity(PHRASE_BYTES_MAX));
        for (index, word) in self.0.expose().split(' ').enumerate() {
            let end = if (index + 1) % ROW_WORDS == 0 {
                "\n"
            } else {
                "  "
            };
            let written = write!(
                rows.expose_mut(),
                "{:>3}. {word:<WORD_BYTES_MAX$}{end}",
                index + 1
            );
            written.expect("a text takes what is written to it");
        }
        rows
    }
}

impl Identity {
    /// This key as words.
    #[must_use]
    pub fn phrase(&self) -> Phrase {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, self.seed());
        let mnemonic = mnemonic.expect("BIP-39 has a phrase for any 32 bytes");
        let mut words = Secret::new(String::with_capacity(PHRASE_WORDS * (WORD_BYTES_MAX + 1)));
        for word in mnemonic.words() {
            let words = words.expose_mut();
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        Phrase(words)
    }

    /// The account's key that a phrase stands for. Without an account it is the one that began with this key: the right
    /// one unless the key was rotated to.
    #[must_use]
    pub fn from_phrase(phrase: &Phrase, account: Option<AccountId>) -> Self {
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, phrase.words().expose());
        let (bytes, _) = mnemonic
            .expect("a phrase was checked when it was made")
            .to_entropy_array();
        let bytes = Secret::new(bytes);
        let mut seed = [0; 32];
        seed.copy_from_slice(bytes.expose().get(..32).expect("24 words are 32 bytes"));
        // The subject is only known with the key.
        let placeholder = Subject::Account(AccountId([0; 32]));
        let mut identity = Self::from_seed(placeholder, seed);
        zeroize::Zeroize::zeroize(&mut seed);
        let account = account.unwrap_or_else(|| AccountId::of_first_key(&identity.public_key()));
        identity.subject = Subject::Account(account);
        identity
    }
}
