//! What a holder signs when it has stored records: the receipt of a `STORED`. Pure.
//!
//! ```text
//! receipt   = key id (30 bytes of text) ‖ Ed25519("fedmsg/v1/stored\0" ‖ count (8 bytes, big-endian) ‖ digest)
//! digest    = SHA-256(leaf ‖ leaf ‖ …)            in the order in which the records were put
//! ```
//!
//! A leaf stands for the whole record, with its stream, epoch and number, so a receipt says: whoever has this key
//! had exactly these records on its disk. It says nothing about how long it keeps them.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::envelope::{Epoch, Kind, Wire};
use crate::identity::Identity;
use crate::keys::{KeyId, KeyRing, SecretKey};
use crate::merkle::Leaf;
use crate::signing::Cut;

/// What stands before what is signed.
const DOMAIN: &[u8; 17] = b"fedmsg/v1/stored\0";
const KEY_CHARS: usize = 30;
const RECEIPT_BYTES: usize = KEY_CHARS + 64;

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It does not have the length of one, or names no key.
    #[error("{0} bytes are no receipt")]
    Form(usize),
    /// The key is not known here, or revoked.
    #[error("the key {0} of the receipt is not trusted here: put it into keys.d")]
    Key(KeyId),
    /// The signature is not good for these records.
    #[error("the receipt's signature is not good for what was put")]
    Signature,
}

/// Records that somebody says to have stored, with the receipt that is to prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) epoch: Epoch,
    pub(crate) numbers: Vec<u64>,
    /// The records of these numbers, in their order, as they were put.
    pub(crate) records: Vec<Wire>,
    pub(crate) receipt: Bytes,
}

impl Claim {
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only what has sockets copies"))]
    /// Who has signed for exactly these records.
    pub(crate) fn verify(&self, keys: &KeyRing) -> Result<Identity, ReceiptError> {
        let leaf = |(i, wire): (&u64, &Wire)| {
            let kind = if *i == 0 { Kind::Genesis } else { Kind::Message };
            Cut::new(&wire.envelope).map(|cut| Leaf::of(kind.domain(), cut.signed))
        };
        let leaves: Result<Vec<Leaf>, _> =
            self.numbers.iter().zip(&self.records).map(leaf).collect();
        let leaves = leaves.map_err(|_| ReceiptError::Signature)?;
        verify(&self.receipt, &leaves, keys)
    }
}

/// Signs that the records with these leaves are on this holder's disk.
pub fn sign(key: &SecretKey, leaves: &[Leaf]) -> Bytes {
    let signature = key.sign(&message(leaves));
    let mut receipt = Vec::with_capacity(RECEIPT_BYTES);
    receipt.extend_from_slice(key.public().id().as_str().as_bytes());
    receipt.extend_from_slice(&signature);
    receipt.into()
}

/// Who says that the records with these leaves are on its disk.
pub fn verify(receipt: &[u8], leaves: &[Leaf], keys: &KeyRing) -> Result<Identity, ReceiptError> {
    let form = || ReceiptError::Form(receipt.len());
    let (id, signature) = receipt.split_at_checked(KEY_CHARS).ok_or_else(form)?;
    let signature: &[u8; 64] = signature.try_into().map_err(|_| form())?;
    let id = KeyId::from_bytes(id).ok_or_else(form)?;
    let trusted = keys.get(&id).filter(|trusted| !trusted.revoked);
    let trusted = trusted.ok_or(ReceiptError::Key(id))?;
    match trusted.public.verifies(&message(leaves), signature) {
        true => Ok(trusted.identity.clone()),
        false => Err(ReceiptError::Signature),
    }
}

fn message(leaves: &[Leaf]) -> [u8; 57] {
    let mut digest = Sha256::new();
    leaves.iter().for_each(|leaf| digest.update(leaf.0));
    let mut message = [0; 57];
    message[..17].copy_from_slice(DOMAIN);
    message[17..25].copy_from_slice(&(leaves.len() as u64).to_be_bytes());
    message[25..].copy_from_slice(&digest.finalize());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::TrustedKey;

    fn holder() -> (SecretKey, KeyRing) {
        let key = SecretKey::from_seed(&[7; 32]).expect("a key");
        let mut keys = KeyRing::default();
        let identity = Identity::parse("relay.one").expect("identity");
        keys.add(TrustedKey::new(key.public().clone(), identity)).expect("new");
        (key, keys)
    }

    #[test]
    fn a_receipt_names_who_signed_and_holds_for_these_records_alone() {
        let (key, mut keys) = holder();
        let leaves = [Leaf([1; 32]), Leaf([2; 32])];
        let receipt = sign(&key, &leaves);
        assert_eq!(verify(&receipt, &leaves, &keys).expect("good").as_str(), "relay.one");
        let swapped = [leaves[1], leaves[0]];
        for other in [&leaves[..1], &swapped[..], &[leaves[0]; 2], &[]] {
            assert_eq!(verify(&receipt, other, &keys), Err(ReceiptError::Signature));
        }
        keys.revoke(&key.public().id());
        assert_eq!(verify(&receipt, &leaves, &keys), Err(ReceiptError::Key(key.public().id())));
    }

    #[test]
    fn a_claim_is_good_for_the_records_that_were_put_and_no_others() {
        use crate::record::{After, Level};
        use crate::timestamp::Timestamp;
        let (key, keys) = holder();
        let stream = crate::StreamName::parse("app.one/0").expect("a stream");
        let epoch = Epoch::new(uuid::Uuid::from_u128(1));
        let publisher = std::sync::Arc::new(SecretKey::from_seed(&[3; 32]).expect("a key"));
        let before = (After::Nothing, Leaf::NONE);
        let now = Timestamp::from_millis(0);
        let (mut sealer, genesis) =
            crate::seal::Sealer::open_epoch(publisher, stream, epoch, before, Level::Local, now);
        let other = sealer.heartbeat(crate::record::State::Open, "", now);
        let claim = |numbers: &[u64], records: &[&Wire], receipt| Claim {
            epoch,
            numbers: numbers.to_vec(),
            records: records.iter().map(|wire| (*wire).clone()).collect(),
            receipt,
        };
        let good = sign(&key, &[genesis.leaf]);
        let name = claim(&[0], &[&genesis.wire], good.clone()).verify(&keys).expect("good");
        assert_eq!(name.as_str(), "relay.one");
        let refused = Err(ReceiptError::Signature);
        assert_eq!(claim(&[1], &[&genesis.wire], good.clone()).verify(&keys), refused);
        assert_eq!(claim(&[0], &[&other.wire], good.clone()).verify(&keys), refused);
        let two = [&genesis.wire, &other.wire];
        assert_eq!(claim(&[0, 1], &two, good.clone()).verify(&keys), refused);
        let stranger = SecretKey::from_seed(&[9; 32]).expect("a key");
        let forged = claim(&[0], &[&genesis.wire], sign(&stranger, &[genesis.leaf]));
        assert_eq!(forged.verify(&keys), Err(ReceiptError::Key(stranger.public().id())));
        assert_eq!(
            claim(&[0], &[&genesis.wire], Bytes::new()).verify(&keys),
            Err(ReceiptError::Form(0))
        );
    }

    #[test]
    fn no_changed_or_cut_receipt_is_good() {
        let (key, keys) = holder();
        let leaves = [Leaf([1; 32])];
        let receipt = sign(&key, &leaves);
        for at in 0..receipt.len() {
            let mut changed = receipt.to_vec();
            changed[at] ^= 1;
            assert!(verify(&changed, &leaves, &keys).is_err(), "byte {at}");
            assert_eq!(verify(&receipt[..at], &leaves, &keys), Err(ReceiptError::Form(at)));
        }
    }
}
