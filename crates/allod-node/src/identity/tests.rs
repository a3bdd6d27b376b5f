//! An identity opens for its owner and for nobody else.

use std::fs::Permissions;

use proptest::prelude::*;
use tempfile::TempDir;

use super::machine::Machine;
use super::*;

const PASSPHRASE: &str = "correct horse battery";

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn place() -> (TempDir, Keyfile) {
    let dir = TempDir::new().unwrap();
    let keyfile = Keyfile::new(
        dir.path().join("identity.age"),
        dir.path().join("machine.secret"),
    );
    (dir, keyfile)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_machine_bound_identity_comes_back_without_a_question() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, None).unwrap();
    let loaded = keyfile.load(None).unwrap();
    assert_eq!(loaded.subject(), made.subject());
    assert_eq!(loaded.public_key(), made.public_key());
    assert_eq!(loaded.sealing_key().public(), made.sealing_key().public());
    let signature = loaded.sign(b"message");
    made.public_key().verify(b"message", &signature).unwrap();
    assert!(made.public_key().verify(b"massage", &signature).is_err());
}

#[test]
fn both_files_are_readable_by_their_owner_only() {
    let (dir, keyfile) = place();
    keyfile
        .create(&Identity::new_node().unwrap(), None)
        .unwrap();
    for name in ["identity.age", "machine.secret"] {
        let mode = fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_identity_is_never_overwritten_by_create() {
    let (_dir, keyfile) = place();
    let first = Identity::new_account().unwrap();
    keyfile.create(&first, None).unwrap();
    let second = Identity::new_account().unwrap();
    let error = keyfile.create(&second, None).unwrap_err();
    assert!(matches!(error, IdentityError::Exists { .. }));
    assert_eq!(keyfile.load(None).unwrap().public_key(), first.public_key());
}

#[test]
fn a_file_open_to_others_is_refused_with_the_command_that_closes_it() {
    let (dir, keyfile) = place();
    keyfile
        .create(&Identity::new_account().unwrap(), None)
        .unwrap();
    for (name, mode) in [("identity.age", 0o640), ("machine.secret", 0o604)] {
        let path = dir.path().join(name);
        set_mode(&path, mode);
        let error = keyfile.load(None).unwrap_err().to_string();
        assert!(
            error.contains(&format!("chmod 600 {}", path.display())),
            "{error}"
        );
        set_mode(&path, 0o600);
    }
    keyfile.load(None).unwrap();
}

#[test]
fn the_file_without_the_machines_secret_opens_nowhere() {
    let (dir, keyfile) = place();
    keyfile
        .create(&Identity::new_account().unwrap(), None)
        .unwrap();
    fs::remove_file(dir.path().join("machine.secret")).unwrap();
    let error = keyfile.load(None).unwrap_err();
    assert!(matches!(error, IdentityError::MachineSecretMissing { .. }));
    assert!(
        !dir.path().join("machine.secret").exists(),
        "loading never draws a secret"
    );

    let (_other, elsewhere) = place();
    elsewhere
        .create(&Identity::new_account().unwrap(), None)
        .unwrap();
    fs::copy(keyfile.path(), elsewhere.path()).unwrap();
    let error = elsewhere.load(None).unwrap_err();
    assert!(matches!(error, IdentityError::OtherMachine { .. }));
}

#[test]
fn another_machine_id_opens_nothing_and_a_late_one_still_opens() {
    let shared = Secret::new([9; 32]);
    let key = |id| Machine::new(id, &shared).recipient();
    assert_ne!(key(Some("a")), key(Some("b")));
    assert_ne!(key(Some("a")), key(None));
    let bare = Machine::new(None, &shared);
    let later = Machine::new(Some("a"), &shared);
    assert_eq!(later.identities().count(), 2);
    let sealed = age::encrypt(&bare.recipient(), b"x").unwrap();
    let opened = later
        .identities()
        .filter_map(|identity| {
            let decryptor = age::Decryptor::new_buffered(sealed.as_slice()).unwrap();
            decryptor.decrypt(std::iter::once(identity)).ok()
        })
        .count();
    assert_eq!(opened, 1);
}

#[test]
fn the_machine_key_derivation_is_frozen() {
    let machine = Machine::new(
        Some("0123456789abcdef0123456789abcdef"),
        &Secret::new([1; 32]),
    );
    assert_eq!(
        machine.recipient().to_string(),
        "age13ce562n28w2s3smrma3r4kytke0jcfdxpevkxpr0xqplpx25f3mqgzxaxm"
    );
}

#[test]
fn the_sealing_key_derivation_is_frozen() {
    let account = Subject::Account(AccountId([0; 32]));
    let identity = Identity::from_seed(account, [1; 32]);
    let public = data_encoding::HEXLOWER.encode(&identity.sealing_key().public());
    assert_eq!(
        public,
        "dfbb4476c7995522ac484eea8b4133da48d344d1a4af215ab392db2693aad536"
    );
}

#[test]
fn a_passphrase_is_asked_for_checked_and_enough() {
    let (dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, Some(&secret(PASSPHRASE))).unwrap();
    assert!(!dir.path().join("machine.secret").exists());
    let error = keyfile.load(None).unwrap_err();
    assert!(matches!(error, IdentityError::PassphraseNeeded { .. }));
    let error = keyfile
        .load(Some(&secret("wrong horse battery")))
        .unwrap_err();
    assert!(matches!(error, IdentityError::WrongPassphrase));
    let loaded = keyfile.load(Some(&secret(PASSPHRASE))).unwrap();
    assert_eq!(loaded.public_key(), made.public_key());
}

#[test]
fn a_short_passphrase_is_refused() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    let error = keyfile.create(&made, Some(&secret("seven77"))).unwrap_err();
    assert!(matches!(error, IdentityError::ShortPassphrase { min: 8 }));
    assert!(!keyfile.exists());
}

#[test]
fn replacing_changes_the_protection_and_keeps_the_key() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, None).unwrap();
    keyfile
        .replace(&made, Lock::Passphrase(&secret(PASSPHRASE)))
        .unwrap();
    assert_eq!(
        keyfile.describe().unwrap().protection,
        Protection::Passphrase
    );
    keyfile.replace(&made, Lock::Machine).unwrap();
    assert_eq!(keyfile.load(None).unwrap().public_key(), made.public_key());
}

#[test]
fn a_file_that_changes_its_protection_opens_at_every_moment() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, None).unwrap();
    let is_over = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut opened = 0;
            while !is_over.load(Ordering::Acquire) {
                // A file that is bound to the machine needs no passphrase and takes none.
                let found = keyfile.load(Some(&secret(PASSPHRASE)));
                assert_eq!(found.unwrap().public_key(), made.public_key());
                opened += 1;
            }
            opened
        });
        for _ in 0..100 {
            let passphrase = secret(PASSPHRASE);
            for lock in [Lock::Passphrase(&passphrase), Lock::Machine] {
                keyfile.replace(&made, lock).unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(opened > 20, "{opened}");
}

#[test]
fn rotation_keeps_the_subject_through_the_file() {
    let (_dir, keyfile) = place();
    let first = Identity::new_account().unwrap();
    let second = first.rotated().unwrap();
    assert_ne!(first.public_key(), second.public_key());
    keyfile.create(&second, None).unwrap();
    let loaded = keyfile.load(None).unwrap();
    assert_eq!(loaded.subject(), first.subject());
    assert_eq!(loaded.account(), first.account());
    assert_eq!(loaded.node(), None);
}

#[test]
fn a_file_describes_itself_without_being_unlocked() {
    let (_dir, keyfile) = place();
    let made = Identity::new_node().unwrap();
    keyfile.create(&made, Some(&secret(PASSPHRASE))).unwrap();
    let described = keyfile.describe().unwrap();
    assert_eq!(described.subject, made.subject());
    assert_eq!(described.key, made.public_key());
    assert!(matches!(described.subject, Subject::Node(_)));
}

#[test]
fn comments_that_lie_are_found_out() {
    let (_dir, keyfile) = place();
    keyfile
        .create(&Identity::new_account().unwrap(), None)
        .unwrap();
    let honest = fs::read_to_string(keyfile.path()).unwrap();
    let other = Identity::new_account().unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    for (line, lie) in [
        (1, format!("# id {}", other.subject())),
        (2, format!("# key {}", other.public_key())),
    ] {
        fs::write(keyfile.path(), honest.replace(lines[line], &lie)).unwrap();
        let error = keyfile.load(None).unwrap_err();
        assert!(matches!(error, IdentityError::Altered { .. }), "{error}");
    }
}

#[test]
fn no_damaged_byte_of_the_armor_goes_unnoticed() {
    let (_dir, keyfile) = place();
    keyfile
        .create(&Identity::new_account().unwrap(), None)
        .unwrap();
    let honest = fs::read_to_string(keyfile.path()).unwrap();
    let start = honest.find("FILE-----\n").unwrap() + "FILE-----\n".len();
    for at in (start..honest.len() - 1).step_by(7) {
        let mut bytes = honest.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        fs::write(keyfile.path(), bytes).unwrap();
        assert!(keyfile.load(None).is_err(), "byte {at}");
    }
    for length in (0..honest.len() - 1).step_by(11) {
        fs::write(keyfile.path(), &honest[..length]).unwrap();
        assert!(keyfile.load(None).is_err(), "length {length}");
    }
}

#[test]
fn an_export_opens_elsewhere_with_its_passphrase_only() {
    let made = Identity::new_account().unwrap().rotated().unwrap();
    let text = made.export(&secret(PASSPHRASE)).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
    let back = Identity::import(&text, &secret(PASSPHRASE)).unwrap();
    assert_eq!(back.subject(), made.subject());
    assert_eq!(back.public_key(), made.public_key());
    let error = Identity::import(&text, &secret("wrong horse battery")).unwrap_err();
    assert!(matches!(error, IdentityError::WrongPassphrase), "{error}");
    let error = Identity::import("hello", &secret(PASSPHRASE)).unwrap_err();
    assert!(matches!(error, IdentityError::NotExport));
}

#[test]
fn a_passphrase_protected_file_is_itself_importable() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, Some(&secret(PASSPHRASE))).unwrap();
    let text = fs::read_to_string(keyfile.path()).unwrap();
    let back = Identity::import(&text, &secret(PASSPHRASE)).unwrap();
    assert_eq!(back.public_key(), made.public_key());
}

#[test]
fn printing_an_identity_shows_no_secret() {
    let identity = Identity::from_seed(Subject::Account(AccountId([3; 32])), [0xab; 32]);
    let shown = format!("{identity:?}");
    assert!(!shown.to_lowercase().contains("abab"), "{shown}");
    assert!(!shown.contains("171"), "{shown}");
}

#[test]
fn a_dropped_secret_is_wiped() {
    // Zeroize is watched through a type that records it, since freed memory must not be read.
    use std::cell::Cell;
    use std::rc::Rc;
    struct Watched(Rc<Cell<bool>>);
    impl zeroize::Zeroize for Watched {
        fn zeroize(&mut self) {
            self.0.set(true);
        }
    }
    let wiped = Rc::new(Cell::new(false));
    drop(Secret::new(Watched(Rc::clone(&wiped))));
    assert!(wiped.get());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_importing_or_reading_panic(text in "(-----BEGIN AGE ENCRYPTED FILE-----)?\\PC{0,200}") {
        let _ = Identity::import(&text, &secret(PASSPHRASE));
        let _ = payload::read(text.as_bytes());
        let (_dir, keyfile) = place();
        fs::write(keyfile.path(), &text).unwrap();
        set_mode(keyfile.path(), 0o600);
        prop_assert!(keyfile.load(None).is_err());
    }
}

// --- Phrases ---

/// Entropy and phrase of the public vectors of BIP-39 (Trezor's `vectors.json`) with 24 words.
const VECTORS: [(&str, &str); 6] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
         abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
    ),
    (
        "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
        "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
         winner thank year wave sausage worth title",
    ),
    (
        "8080808080808080808080808080808080808080808080808080808080808080",
        "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid \
         letter advice cage absurd amount doctor acoustic bless",
    ),
    (
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
    ),
    (
        "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
        "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis \
         maple dilemma loan word shrug inflict delay length",
    ),
    (
        "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
        "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group \
         space point ten exist slush involve unfold",
    ),
];

#[test]
fn phrases_are_those_of_the_public_vectors() {
    for (entropy, words) in VECTORS {
        let seed: [u8; 32] = data_encoding::HEXLOWER
            .decode(entropy.as_bytes())
            .unwrap()
            .try_into()
            .unwrap();
        let subject = Subject::Account(AccountId([0; 32]));
        let identity = Identity::from_seed(subject, seed);
        assert_eq!(identity.phrase().words().expose(), words);
        let read = Phrase::read(&secret(words)).unwrap();
        let restored = Identity::from_phrase(&read, None);
        assert_eq!(restored.seed(), &seed);
        assert_eq!(restored.public_key(), identity.public_key());
    }
}

#[test]
fn a_phrase_restores_the_account_its_key_and_what_is_sealed_to_it() {
    let made = Identity::new_account().unwrap();
    let phrase = made.phrase();
    let restored = Identity::from_phrase(&phrase, None);
    assert_eq!(restored.subject(), made.subject());
    assert_eq!(restored.public_key(), made.public_key());
    assert_eq!(restored.sealing_key().public(), made.sealing_key().public());
    // A key that was rotated to does not say by itself whose it is.
    let rotated = made.rotated().unwrap();
    let alone = Identity::from_phrase(&rotated.phrase(), None);
    assert_eq!(alone.public_key(), rotated.public_key());
    assert_ne!(alone.subject(), made.subject());
    let named = Identity::from_phrase(&rotated.phrase(), made.account());
    assert_eq!(named.subject(), made.subject());
}

#[test]
fn a_phrase_is_read_as_people_write_it() {
    let (_, words) = VECTORS[4];
    let made = Identity::from_phrase(&Phrase::read(&secret(words)).unwrap(), None);
    let rows = made.phrase().rows();
    assert!(
        rows.expose().starts_with("  1. hamster "),
        "{}",
        rows.expose()
    );
    for text in [
        rows.expose().clone(),
        words.to_uppercase(),
        format!("\n\t{words}  \r\n"),
    ] {
        let read = Phrase::read(&secret(&text)).unwrap();
        assert_eq!(read.words().expose(), words);
    }
}

#[test]
fn a_wrong_phrase_is_refused_with_the_place_and_never_with_a_word() {
    let (_, words) = VECTORS[4];
    let list: Vec<&str> = words.split(' ').collect();
    let short = list[..23].join(" ");
    let twelve = list[..12].join(" ");
    let long = format!("{words} maple");
    for text in [short.as_str(), &twelve, &long, "", &"maple ".repeat(400)] {
        let error = Phrase::read(&secret(text)).err().unwrap();
        assert!(
            matches!(error, IdentityError::PhraseLength { .. }),
            "{error}"
        );
    }
    let misspelt = words.replace("tennis", "tenis");
    let error = Phrase::read(&secret(&misspelt)).err().unwrap();
    assert!(
        matches!(error, IdentityError::PhraseWord { place: 16 }),
        "{error}"
    );
    assert!(!error.to_string().contains("tenis"));
    let mut swapped = list.clone();
    swapped.swap(2, 3);
    let error = Phrase::read(&secret(&swapped.join(" "))).err().unwrap();
    assert!(matches!(error, IdentityError::PhraseChecksum), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_reading_a_phrase_panic(text in "([a-z]{0,8}[ .0-9\n]{1,3}){20,28}|[ -~]{0,300}") {
        // One in 256 texts of list words is a phrase; these are not made of list words.
        prop_assert!(Phrase::read(&secret(&text)).is_err());
    }

    #[test]
    fn every_key_comes_back_from_its_phrase(seed in any::<[u8; 32]>()) {
        let made = Identity::from_seed(Subject::Account(AccountId([0; 32])), seed);
        let phrase = Phrase::read(made.phrase().words()).unwrap();
        let restored = Identity::from_phrase(&phrase, None);
        prop_assert_eq!(restored.seed(), &seed);
    }
}

// --- Plain files, and keys that wait ---

#[test]
fn a_plain_file_opens_anywhere_for_whoever_may_read_it() {
    let (dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create_with(&made, Lock::Nothing).unwrap();
    assert!(!dir.path().join("machine.secret").exists());
    assert_eq!(keyfile.describe().unwrap().protection, Protection::Nothing);
    let (_other, elsewhere) = place();
    fs::copy(keyfile.path(), elsewhere.path()).unwrap();
    let loaded = elsewhere.load(None).unwrap();
    assert_eq!(loaded.public_key(), made.public_key());
    assert_eq!(loaded.subject(), made.subject());
    set_mode(elsewhere.path(), 0o644);
    let error = elsewhere.load(None).unwrap_err();
    assert!(matches!(error, IdentityError::Open { .. }), "{error}");
}

#[test]
fn a_plain_file_whose_comments_lie_is_refused() {
    let (_dir, keyfile) = place();
    let (made, other) = (
        Identity::new_account().unwrap(),
        Identity::new_account().unwrap(),
    );
    keyfile.create_with(&made, Lock::Nothing).unwrap();
    let honest = fs::read_to_string(keyfile.path()).unwrap();
    let lie = honest.replacen(
        &made.public_key().to_string(),
        &other.public_key().to_string(),
        1,
    );
    fs::write(keyfile.path(), lie).unwrap();
    let error = keyfile.load(None).unwrap_err();
    assert!(matches!(error, IdentityError::Altered { .. }), "{error}");
}

#[test]
fn the_next_key_takes_over_in_one_step() {
    let (_dir, keyfile) = place();
    let made = Identity::new_account().unwrap();
    keyfile.create(&made, None).unwrap();
    let next = made.rotated().unwrap();
    keyfile.next().create(&next, None).unwrap();
    assert_eq!(keyfile.load(None).unwrap().public_key(), made.public_key());
    keyfile.take_next().unwrap();
    assert_eq!(keyfile.load(None).unwrap().public_key(), next.public_key());
    assert!(!keyfile.next().exists());
    keyfile.drop_next().unwrap();
}

// --- Held open ---

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A holder on a clock of its own, and the thread that serves.
fn held(dir: &Path, identity: &Identity) -> (PathBuf, Arc<AtomicU64>, std::thread::JoinHandle<()>) {
    let socket = dir.join("unlocked");
    let held = Held::open(&socket, identity, Duration::from_secs(60)).unwrap();
    let offset_s = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&offset_s);
    let thread = std::thread::spawn(move || {
        held.serve_by(|| {
            let passed = Duration::from_secs(clock.load(Ordering::SeqCst));
            super::unlocked::since_boot() + passed
        });
    });
    (socket, offset_s, thread)
}

fn description(identity: &Identity) -> Description {
    Description {
        subject: identity.subject(),
        key: identity.public_key(),
        protection: Protection::Passphrase,
    }
}

#[test]
fn a_held_key_is_given_out_until_its_time_is_up() {
    let dir = TempDir::new().unwrap();
    let made = Identity::new_account().unwrap();
    let (socket, clock_s, thread) = held(dir.path(), &made);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let given = unlocked(&socket, &description(&made)).unwrap();
    assert_eq!(given.public_key(), made.public_key());
    assert!((1..=60).contains(&seconds_left(&socket).unwrap()));
    clock_s.store(59, Ordering::SeqCst);
    assert!(seconds_left(&socket).is_none_or(|left| left <= 1));
    clock_s.store(60, Ordering::SeqCst);
    assert!(unlocked(&socket, &description(&made)).is_none());
    thread.join().unwrap();
    assert!(!socket.exists());
}

#[test]
fn a_held_key_is_gone_once_it_is_locked() {
    let dir = TempDir::new().unwrap();
    let made = Identity::new_account().unwrap();
    let (socket, _, thread) = held(dir.path(), &made);
    assert!(lock(&socket));
    thread.join().unwrap();
    assert!(unlocked(&socket, &description(&made)).is_none());
    assert!(!lock(&socket));
}

#[test]
fn a_held_key_answers_for_no_other_key_and_survives_nonsense() {
    let dir = TempDir::new().unwrap();
    let (made, other) = (
        Identity::new_account().unwrap(),
        Identity::new_account().unwrap(),
    );
    let (socket, _, thread) = held(dir.path(), &made);
    assert!(unlocked(&socket, &description(&other)).is_none());
    for nonsense in ["", "\n", "give\n", "open", &"x".repeat(100)] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        std::io::Write::write_all(&mut stream, nonsense.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(answer.is_empty(), "{nonsense:?}");
    }
    assert!(unlocked(&socket, &description(&made)).is_some());
    // A second holder takes the place of the first.
    let again = Held::open(&socket, &other, Duration::from_secs(60)).unwrap();
    thread.join().unwrap();
    drop(again);
    assert!(!socket.exists());
}
