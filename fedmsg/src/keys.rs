//! Keys: what they are called, how they are written down, and whom they speak for.

use std::collections::HashMap;
use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::timestamp::Timestamp;

/// The name of a public key: `fm1-` and the first 26 characters of lower-case base32 (RFC 4648, without
/// padding) of SHA-256("fedmsg/v1/key\0" ‖ public key).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KeyId::CHARS]);

/// What can be wrong with a key, its name, or the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not `fm1-` and 26 characters of a-z 2-7.
    #[error("`{0}` is no key id: `fm1-` and 26 characters of a-z 2-7 are expected")]
    BadId(String),
    /// Not 43 characters of base64url.
    #[error("the public key is not 32 bytes in base64url (43 characters)")]
    BadPublicText,
    /// Not a point of the curve.
    #[error("the public key is no point of the curve")]
    NotAPoint,
    /// A key of small order, under which almost any message can be signed.
    #[error("the public key is weak (of small order): make a new one")]
    Weak,
    /// A secret key that is not `FEDMSG-ED25519-SECRET-1-…`.
    #[error("this is no secret key: one line `FEDMSG-ED25519-SECRET-1-…` is expected")]
    BadSecretText,
    /// A secret key with a typing error.
    #[error("the secret key is damaged: its checksum does not fit")]
    BadChecksum,
    /// The `id` beside a public key is another key's.
    #[error("the key is called {written}, but its id is {real}")]
    WrongId {
        /// What the file says.
        written: KeyId,
        /// What it should say.
        real: KeyId,
    },
    /// One public key for two identities.
    #[error("key {id} is given to both {first} and {second}: a key speaks for one identity")]
    Shared {
        /// The key.
        id: KeyId,
        /// Who had it first.
        first: Identity,
        /// Who claims it too.
        second: Identity,
    },
}

impl KeyId {
    const CHARS: usize = 30;
    const PREFIX: &'static str = "fm1-";

    /// The name of this public key.
    pub fn of(public: &[u8; 32]) -> KeyId {
        let mut hash = Sha256::new();
        hash.update(b"fedmsg/v1/key\0");
        hash.update(public);
        let text = BASE32_NOPAD.encode(&hash.finalize()).to_ascii_lowercase();
        let mut id = [0; KeyId::CHARS];
        id[..4].copy_from_slice(KeyId::PREFIX.as_bytes());
        id[4..].copy_from_slice(&text.as_bytes()[..26]);
        KeyId(id)
    }

    /// Reads a key id.
    pub fn parse(text: &str) -> Result<KeyId, KeyError> {
        KeyId::from_bytes(text.as_bytes()).ok_or_else(|| KeyError::BadId(text.into()))
    }

    /// Reads a key id from the wire.
    pub(crate) fn from_bytes(text: &[u8]) -> Option<KeyId> {
        let id: [u8; KeyId::CHARS] = text.try_into().ok()?;
        let plain = id[4..].iter().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'));
        (id.starts_with(KeyId::PREFIX.as_bytes()) && plain).then_some(KeyId(id))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a key id is ASCII: checked when it was made")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key that may be trusted: on the curve and not weak.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: VerifyingKey,
}

impl PublicKey {
    /// Takes 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey { id: KeyId::of(bytes), key })
    }

    /// Reads 43 characters of base64url.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError::BadPublicText)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::BadPublicText)?;
        PublicKey::from_bytes(&bytes)
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 43 characters that [`parse`](PublicKey::parse) reads.
    pub fn to_text(&self) -> String {
        BASE64URL_NOPAD.encode(self.key.as_bytes())
    }

    /// `verify_strict` of RFC 8032 as ed25519-dalek does it: no small-order points, no malleable scalars.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// A secret key. Its memory is overwritten when it is dropped, and it never shows itself in `Debug`.
pub struct SecretKey {
    key: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    const PREFIX: &'static str = "FEDMSG-ED25519-SECRET-1-";

    /// Makes a key of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Result<SecretKey, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
        Ok(SecretKey { key, public })
    }

    /// Reads the one line of a private key file.
    pub fn parse(text: &str) -> Result<SecretKey, KeyError> {
        let body = text.trim().strip_prefix(SecretKey::PREFIX).ok_or(KeyError::BadSecretText)?;
        let bytes = BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| KeyError::BadSecretText)?;
        let bytes = Zeroizing::new(bytes);
        let Some((seed, checksum)) = bytes.split_at_checked(32) else {
            return Err(KeyError::BadSecretText);
        };
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(seed.try_into().map_err(|_| KeyError::BadSecretText)?);
        if checksum != SecretKey::checksum(&seed) {
            return Err(KeyError::BadChecksum);
        }
        SecretKey::from_seed(&seed)
    }

    /// The one line of a private key file, without a newline.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(self.key.as_bytes().to_vec());
        bytes.extend(SecretKey::checksum(self.key.as_bytes()));
        let body = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        Zeroizing::new(format!("{}{}", SecretKey::PREFIX, *body))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    fn checksum(seed: &[u8; 32]) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(b"fedmsg/v1/secret\0");
        hash.update(seed);
        let hash: [u8; 32] = hash.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, secret)", self.public.id)
    }
}

/// A trusted key: whom it speaks for, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedKey {
    /// The key.
    pub public: PublicKey,
    /// Whom it speaks for.
    pub identity: Identity,
    /// Messages with an earlier time are refused.
    pub not_before: Option<Timestamp>,
    /// Messages with a later time are refused.
    pub not_after: Option<Timestamp>,
    /// Everything that it signs is refused.
    pub revoked: bool,
}

impl TrustedKey {
    /// A key that is valid at all times.
    pub fn new(public: PublicKey, identity: Identity) -> TrustedKey {
        TrustedKey { public, identity, not_before: None, not_after: None, revoked: false }
    }
}

/// All trusted keys, found by id.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: HashMap<KeyId, TrustedKey>,
}

impl KeyRing {
    /// Adds a key. One that speaks for somebody else already is refused; the same one again must not
    /// undo a revocation, so revoked stays revoked.
    pub fn add(&mut self, key: TrustedKey) -> Result<(), KeyError> {
        let id = key.public.id();
        match self.keys.get_mut(&id) {
            Some(known) if known.identity != key.identity => {
                Err(KeyError::Shared { id, first: known.identity.clone(), second: key.identity })
            }
            Some(known) => {
                let revoked = known.revoked || key.revoked;
                *known = TrustedKey { revoked, ..key };
                Ok(())
            }
            None => {
                self.keys.insert(id, key);
                Ok(())
            }
        }
    }

    /// Refuses everything of this key from now on; says whether the key was known.
    pub fn revoke(&mut self, id: &KeyId) -> bool {
        self.keys.get_mut(id).map(|key| key.revoked = true).is_some()
    }

    /// The key of this id.
    pub fn get(&self, id: &KeyId) -> Option<&TrustedKey> {
        self.keys.get(id)
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &TrustedKey> {
        self.keys.values()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_key_is_written_as_it_is_read_and_a_typing_error_is_found() {
        let key = SecretKey::from_seed(&[7; 32]).expect("key");
        let text = key.to_text();
        let again = SecretKey::parse(&text).expect("read");
        assert_eq!(again.public(), key.public());
        let damaged = text.replacen("A4DQ", "A4DR", 1);
        assert_ne!(damaged, **text);
        assert_eq!(SecretKey::parse(&damaged).expect_err("damaged"), KeyError::BadChecksum);
        assert_eq!(SecretKey::parse("hello").expect_err("text"), KeyError::BadSecretText);
        assert!(!format!("{key:?}").contains("A4DQ"));
    }

    #[test]
    fn weak_and_broken_public_keys_are_refused() {
        let mut small_order = [0; 32];
        small_order[0] = 1;
        assert_eq!(PublicKey::from_bytes(&small_order), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::Weak));
        assert_eq!(PublicKey::parse("abc"), Err(KeyError::BadPublicText));
        assert_eq!(PublicKey::from_bytes(&[2; 32]), Err(KeyError::NotAPoint));
    }

    #[test]
    fn one_key_speaks_for_one_identity_and_stays_revoked() {
        let public = SecretKey::from_seed(&[7; 32]).expect("key").public().clone();
        let identity = |text| Identity::parse(text).expect("identity");
        let mut ring = KeyRing::default();
        let first = TrustedKey::new(public.clone(), identity("a.b"));
        ring.add(first.clone()).expect("first");
        ring.add(first.clone()).expect("again");
        let other = TrustedKey::new(public.clone(), identity("c.d"));
        assert!(matches!(ring.add(other), Err(KeyError::Shared { .. })));
        assert!(ring.revoke(&public.id()));
        ring.add(first).expect("again");
        assert!(ring.get(&public.id()).expect("key").revoked);
    }

    #[test]
    fn key_ids_print_as_they_are_read() {
        let id = SecretKey::from_seed(&[7; 32]).expect("key").public().id();
        assert_eq!(KeyId::parse(id.as_str()), Ok(id));
        for text in ["", "fm1-", "fm2-aaaaaaaaaaaaaaaaaaaaaaaaaa", "fm1-AAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(KeyId::parse(text).is_err(), "{text}");
        }
    }
}
