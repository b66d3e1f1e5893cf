//! Signatures: how the last member of a record is made, cut off, and checked.
//!
//! The exact bytes are signed. Nothing is parsed, and nothing is encoded again, in order to verify.

use std::collections::{HashMap, VecDeque};

use data_encoding::BASE64URL_NOPAD;
use memchr::{memchr, memrchr};

use crate::keys::{KeyId, PublicKey, SecretKey};
use crate::limits::{
    ENVELOPE_BYTES_MAX, ROOTS_MAX, SIGNATURE_CHARS_MAX, TREE_LEAVES_MAX, TREE_PATH_MAX, TREES_MAX,
};
use crate::merkle::{KnownTree, Leaf, Tree, path_len, root_from_path};
use crate::rejection::Rejection;

/// What stands between the signed bytes and the signature.
pub(crate) const SIGNATURE_MEMBER: &[u8] = b",\"signature\":\"";
/// How every record begins; key id, stream and the rest follow.
const START: &[u8] = b"{\"v\":1,\"crypto\":\"ed25519\",\"certificate\":\"";
const STREAM_MEMBER: &[u8] = b"\",\"stream\":\"";
const KEY_CHARS: usize = 30;
/// Where the text of the stream begins.
const STREAM_AT: usize = START.len() + KEY_CHARS + STREAM_MEMBER.len();
/// Signature, size and index: the whole proof of a record that is alone in its tree.
const PROOF_BYTES_MIN: usize = 66;
/// The proof with the longest path.
const PROOF_BYTES_MAX: usize = PROOF_BYTES_MIN + 32 * TREE_PATH_MAX;

/// What Ed25519 signs for a whole tree: the size is in it, or proofs would be malleable.
fn root_message(size: u8, root: &[u8; 32]) -> [u8; 48] {
    let mut message = [0; 48];
    message[..15].copy_from_slice(b"fedmsg/v1/root\0");
    message[15] = size;
    message[16..].copy_from_slice(root);
    message
}

/// Signs 1 to 64 records under one root and ends each with its own proof.
pub(crate) fn sign_tree(key: &SecretKey, leaves: &[Leaf], records: &mut [Vec<u8>]) {
    let tree = Tree::new(leaves);
    let size = leaves.len() as u8;
    let signature = key.sign(&root_message(size, &tree.root()));
    let mut proof = Vec::with_capacity(PROOF_BYTES_MAX);
    for (index, record) in records.iter_mut().enumerate() {
        proof.clear();
        proof.extend_from_slice(&signature);
        proof.extend_from_slice(&[size, index as u8]);
        for node in tree.path(index) {
            proof.extend_from_slice(node);
        }
        record.extend_from_slice(SIGNATURE_MEMBER);
        let start = record.len();
        record.resize(start + BASE64URL_NOPAD.encode_len(proof.len()), 0);
        BASE64URL_NOPAD.encode_mut(&proof, &mut record[start..]);
        record.extend_from_slice(b"\"}");
    }
}

/// A second frame with its signature cut off, key id and stream read at their fixed places. Nothing in it
/// is trusted yet.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    pub(crate) signed: &'a [u8],
    pub(crate) key: KeyId,
    pub(crate) stream: &'a str,
    /// Where in the frame the text of the stream ends.
    pub(crate) stream_end: usize,
    /// Signature, size, index and inclusion path.
    proof: [u8; PROOF_BYTES_MAX],
    proof_len: usize,
}

impl<'a> Cut<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Result<Cut<'a>, Rejection> {
        if frame.len() > ENVELOPE_BYTES_MAX {
            return Err(Rejection::TooLarge);
        }
        let (key, stream) = fixed_places(frame)?;
        let (signed, text) = cut_signature(frame)?;
        let mut proof = [0; PROOF_BYTES_MAX];
        let form = |_| Rejection::SignatureForm;
        let proof_len = BASE64URL_NOPAD.decode_len(text.len()).map_err(form)?;
        let decoded = BASE64URL_NOPAD.decode_mut(text, &mut proof[..proof_len]);
        decoded.map_err(|_| Rejection::SignatureForm)?;
        let stream_end = STREAM_AT + stream.len();
        let cut = Cut { signed, key, stream, stream_end, proof, proof_len };
        let (size, index) = (cut.size(), cut.index());
        let sizes_fit = size >= 1 && usize::from(size) <= TREE_LEAVES_MAX && index < size;
        if !sizes_fit || proof_len != PROOF_BYTES_MIN + 32 * path_len(size, index) {
            return Err(Rejection::SignatureForm);
        }
        Ok(cut)
    }

    fn signature(&self) -> &[u8; 64] {
        self.proof.first_chunk().expect("a proof has room for a signature")
    }

    fn size(&self) -> u8 {
        self.proof[64]
    }

    fn index(&self) -> u8 {
        self.proof[65]
    }

    fn path(&self) -> &[[u8; 32]] {
        self.proof[PROOF_BYTES_MIN..self.proof_len].as_chunks().0
    }

    /// Whether the key's holder signed a tree with this leaf at this place.
    pub(crate) fn verify(&self, leaf: &Leaf, key: &PublicKey, roots: &mut Roots) -> bool {
        let (size, index, path) = (self.size(), self.index(), self.path());
        let whose = (self.key, size, *self.signature());
        if roots.tree(&whose).is_some_and(|tree| tree.proves(leaf, index, path)) {
            return true;
        }
        let Some(root) = root_from_path(leaf, size, index, path) else { return false };
        let known = (self.key, size, root);
        let good = roots.contains(&known, self.signature())
            || key.verifies(&root_message(size, &root), self.signature());
        if good {
            roots.insert(known, *self.signature());
            if size > 1 {
                roots.grow(whose, root).proves(leaf, index, path);
            }
        }
        good
    }
}

/// Key id and stream, in the order and spelling that every record has.
fn fixed_places(frame: &[u8]) -> Result<(KeyId, &str), Rejection> {
    let Some(rest) = frame.strip_prefix(START) else { return Err(wrong_start(frame)) };
    let (key, rest) = rest.split_at_checked(KEY_CHARS).ok_or(Rejection::Malformed)?;
    let key = KeyId::from_bytes(key).ok_or(Rejection::Malformed)?;
    let rest = rest.strip_prefix(STREAM_MEMBER).ok_or(Rejection::Malformed)?;
    let end = memchr(b'"', rest).ok_or(Rejection::Malformed)?;
    let stream = std::str::from_utf8(&rest[..end]).map_err(|_| Rejection::BadUtf8)?;
    Ok((key, stream))
}

/// Why a frame does not begin as it must: another version, another algorithm, no signature, or garbage.
fn wrong_start(frame: &[u8]) -> Rejection {
    let signed = frame.windows(SIGNATURE_MEMBER.len()).any(|part| part == SIGNATURE_MEMBER);
    match frame {
        _ if std::str::from_utf8(frame).is_err() => Rejection::BadUtf8,
        _ if !frame.starts_with(b"{") => Rejection::Malformed,
        _ if !signed => Rejection::Unsigned,
        _ if frame.starts_with(b"{\"v\":1,\"crypto\":\"") => Rejection::Algorithm,
        _ if frame.starts_with(b"{\"v\":") && !frame.starts_with(b"{\"v\":1,") => {
            Rejection::Version
        }
        _ => Rejection::Malformed,
    }
}

/// Base64url has no quote, so the last quote but one is where the signature begins.
fn cut_signature(frame: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let body = frame.strip_suffix(b"\"}").ok_or(Rejection::Truncated)?;
    let from = body.len().saturating_sub(SIGNATURE_CHARS_MAX + 1);
    let quote = memrchr(b'"', &body[from..]).ok_or(Rejection::Unsigned)?;
    let (before, text) = body.split_at(from + quote + 1);
    let signed = before.strip_suffix(SIGNATURE_MEMBER).ok_or(Rejection::Unsigned)?;
    Ok((signed, text))
}

/// The roots that were verified, each with its signature, so that a batch costs one verification. Bounded:
/// the oldest falls out.
///
/// Without the signature, a record with a known root and a broken signature would pass here, be stored, and
/// be worth nothing to the next reader.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    known: HashMap<Root, [u8; 64]>,
    order: VecDeque<Root>,
    /// Of the newest ones more is known. Few: records of one tree come one after the other.
    trees: VecDeque<(Whose, KnownTree)>,
}

/// Whose tree, its size, and its root.
type Root = (KeyId, u8, [u8; 32]);
/// Whose tree, its size, and what was signed for it.
type Whose = (KeyId, u8, [u8; 64]);

impl Roots {
    fn contains(&self, root: &Root, signature: &[u8; 64]) -> bool {
        self.known.get(root) == Some(signature)
    }

    fn insert(&mut self, root: Root, signature: [u8; 64]) {
        if self.known.insert(root, signature).is_none() {
            self.order.push_back(root);
        }
        if self.order.len() > ROOTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What is known of the tree that has this signature, which was verified.
    fn tree(&mut self, whose: &Whose) -> Option<&mut KnownTree> {
        // The signature first: the others of one key differ there at once.
        let is_it = |of: &Whose| of.2 == whose.2 && of == whose;
        self.trees.iter_mut().find(|(of, _)| is_it(of)).map(|(_, tree)| tree)
    }

    /// A tree whose root was verified with this signature.
    fn grow(&mut self, whose: Whose, root: [u8; 32]) -> &mut KnownTree {
        let tree = KnownTree::new(whose.1, root);
        self.trees.truncate(TREES_MAX - 1);
        self.trees.push_front((whose, tree));
        &mut self.trees[0].1
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
        self.trees.clear();
    }
}
