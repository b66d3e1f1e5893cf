//! Signing and verifying written a second time, from `docs/wire-format.md` alone and with none of the
//! library's code: it proves the document, and it signs what the library would never seal.
#![allow(dead_code, reason = "each test binary uses its own part")]

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};
use sha2::{Digest, Sha256};

pub const MESSAGE: &str = "fedmsg/v1/message\0";
pub const GENESIS: &str = "fedmsg/v1/genesis\0";
pub const HEARTBEAT: &str = "fedmsg/v1/heartbeat\0";

pub type Hash = [u8; 32];

pub fn leaf(domain: &str, bytes: &[u8]) -> Hash {
    Sha256::digest([&[0], domain.as_bytes(), bytes].concat()).into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::digest([&[1], &left[..], right].concat()).into()
}

/// The largest power of two below n: where RFC 9162, 2.1.1 splits.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [alone] => *alone,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// PATH(m, D_n) of RFC 9162, 2.1.3.1.
pub fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut below, beside) =
        if m < k { (path(m, left), root(right)) } else { (path(m - k, right), root(left)) };
    below.push(beside);
    below
}

fn signed_text(size: u8, root: &Hash) -> Vec<u8> {
    [b"fedmsg/v1/root\0", &[size][..], root].concat()
}

/// The whole second frame: signed bytes, the member, and the end.
pub fn frame(bytes: &[u8], signature: &[u8]) -> Vec<u8> {
    let text = BASE64URL_NOPAD.encode(signature);
    [bytes, b",\"signature\":\"", text.as_bytes(), b"\"}"].concat()
}

/// Signs a tree of these contents; gives the second frame of each.
pub fn sign(key: &SigningKey, domain: &str, contents: &[&[u8]]) -> Vec<Vec<u8>> {
    let leaves: Vec<Hash> = contents.iter().map(|bytes| leaf(domain, bytes)).collect();
    let size = leaves.len() as u8;
    let signature = key.sign(&signed_text(size, &root(&leaves))).to_bytes();
    let one = |(index, bytes): (usize, &&[u8])| {
        let path = path(index, &leaves).concat();
        frame(bytes, &[&signature[..], &[size, index as u8], &path].concat())
    };
    contents.iter().enumerate().map(one).collect()
}

/// The bytes before `,"signature":"` and the decoded signature.
pub fn cut(frame: &[u8]) -> (&[u8], Vec<u8>) {
    let body = frame.strip_suffix(b"\"}").expect("the end");
    let quote = body.iter().rposition(|byte| *byte == b'"').expect("a quote");
    let bytes = body[..=quote].strip_suffix(b",\"signature\":\"").expect("the member");
    (bytes, BASE64URL_NOPAD.decode(&body[quote + 1..]).expect("base64url"))
}

/// The root that a leaf at this place and its path lead to, top down: the counterpart of [`path`].
fn root_of(leaf: &Hash, m: usize, n: usize, path: &[Hash]) -> Option<Hash> {
    match path.split_last() {
        None => (n == 1).then_some(*leaf),
        Some(_) if n <= 1 => None,
        Some((beside, below)) => {
            let k = split(n);
            match m < k {
                true => Some(node(&root_of(leaf, m, k, below)?, beside)),
                false => Some(node(beside, &root_of(leaf, m - k, n - k, below)?)),
            }
        }
    }
}

/// Whether the frame proves itself under this key.
pub fn verifies(key: &VerifyingKey, domain: &str, frame: &[u8]) -> bool {
    let (bytes, proof) = cut(frame);
    let (signature, rest) = proof.split_at(64);
    let (size, index) = (rest[0], rest[1]);
    let path: Vec<Hash> = rest[2..].chunks(32).map(|c| c.try_into().expect("32 bytes")).collect();
    let Some(root) = root_of(&leaf(domain, bytes), index.into(), size.into(), &path) else {
        return false;
    };
    let signature = signature.try_into().expect("64 bytes");
    index < size && key.verify(&signed_text(size, &root), &signature).is_ok()
}

pub fn key_id(public: &[u8; 32]) -> String {
    let hash = Sha256::digest([b"fedmsg/v1/key\0", &public[..]].concat());
    format!("fm1-{}", BASE32_NOPAD.encode(&hash).to_ascii_lowercase().split_at(26).0)
}

pub fn secret_text(seed: &[u8; 32]) -> String {
    let sum = Sha256::digest([b"fedmsg/v1/secret\0", &seed[..]].concat());
    format!("FEDMSG-ED25519-SECRET-1-{}", BASE32_NOPAD.encode(&[&seed[..], &sum[..4]].concat()))
}
