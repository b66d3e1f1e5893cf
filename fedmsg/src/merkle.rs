//! The trees that are signed: leaves, nodes, roots and inclusion paths of RFC 9162, section 2.1.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::limits::{TREE_LEAVES_MAX, TREE_PATH_MAX};

/// The hash of one record: what `prev` of the next one carries, and what a tree is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaf(pub [u8; 32]);

impl Leaf {
    /// Where nothing came before: 43 × `A` on the wire.
    pub const NONE: Leaf = Leaf([0; 32]);

    /// SHA-256(0x00 ‖ domain ‖ bytes): `bytes` is all of the second frame before `,"signature":"`.
    pub fn of(domain: &[u8], bytes: &[u8]) -> Leaf {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(domain);
        hash.update(bytes);
        Leaf(hash.finalize().into())
    }

    /// Reads 43 characters of base64url without padding; stray bits are refused.
    pub fn parse(text: &[u8]) -> Option<Leaf> {
        let mut bytes = [0; 32];
        if text.len() != 43 {
            return None;
        }
        BASE64URL_NOPAD.decode_mut(text, &mut bytes).ok()?;
        Some(Leaf(bytes))
    }

    /// The 43 characters that go over the wire.
    pub fn to_text(self) -> [u8; 43] {
        let mut text = [0; 43];
        BASE64URL_NOPAD.encode_mut(&self.0, &mut text);
        text
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({self})")
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// A tree over 1 to 64 leaves. A level's last node without a sibling goes up unchanged, which gives the
/// same roots and paths as the recursive definition of the RFC.
#[derive(Debug)]
pub struct Tree {
    levels: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    /// Builds the tree.
    ///
    /// # Panics
    /// Without leaves, or with more than 64: the sealer never asks for either.
    pub fn new(leaves: &[Leaf]) -> Tree {
        assert!((1..=TREE_LEAVES_MAX).contains(&leaves.len()), "a tree has 1 to 64 leaves");
        let mut levels = vec![leaves.iter().map(|leaf| leaf.0).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let up = below.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                alone => alone[0],
            });
            levels.push(up.collect());
        }
        Tree { levels }
    }

    /// The root, which is signed.
    pub fn root(&self) -> [u8; 32] {
        self.levels.last().expect("a tree has a level")[0]
    }

    /// The inclusion path of a leaf, from the leaf upwards.
    pub fn path(&self, index: usize) -> impl Iterator<Item = &[u8; 32]> {
        let sibling = move |(height, level): (usize, &'_ Vec<[u8; 32]>)| {
            let at = (index >> height) ^ 1;
            (at < level.len()).then_some((height, at))
        };
        let places: Vec<_> = self.levels.iter().enumerate().filter_map(sibling).collect();
        let root_height = self.levels.len() - 1;
        places.into_iter().filter(move |(h, _)| *h < root_height).map(|(h, at)| &self.levels[h][at])
    }
}

/// How many nodes the inclusion path of this leaf has, in a tree of this size.
pub fn path_len(size: u8, index: u8) -> usize {
    let (mut at, mut last, mut nodes) = (index, size.saturating_sub(1), 0);
    while last > 0 {
        // A last node without a sibling has none to name at this level.
        if at & 1 == 1 || at < last {
            nodes += 1;
        }
        at >>= 1;
        last >>= 1;
    }
    nodes
}

/// The root that a leaf and its inclusion path lead to, by the algorithm of RFC 9162, 2.1.3.2.
/// `None` when the path does not fit the size and index.
pub fn root_from_path(leaf: &Leaf, size: u8, index: u8, path: &[[u8; 32]]) -> Option<[u8; 32]> {
    if size == 0 || usize::from(size) > TREE_LEAVES_MAX || index >= size {
        return None;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf.0;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Every node of a tree of 64 leaves: 64, 32, 16, 8, 4, 2 and 1 of them.
const NODES_MAX: usize = 2 * TREE_LEAVES_MAX - 1;

/// What is known of a tree whose root was verified, so that the others of its leaves need few hashes: where the way up
/// from a leaf comes to a node that is known, the rest of its path has to be what is known, byte by byte.
///
/// With each node that is known, its sibling and everything above both is known.
#[derive(Debug)]
pub(crate) struct KnownTree {
    size: u8,
    nodes: [[u8; 32]; NODES_MAX],
    known: u128,
}

impl KnownTree {
    /// A tree of 1 to 64 leaves, of which nothing but its root is known.
    pub(crate) fn new(size: u8, root: [u8; 32]) -> KnownTree {
        let mut tree = KnownTree { size, nodes: [[0; 32]; NODES_MAX], known: 0 };
        let height = (u8::BITS - size.saturating_sub(1).leading_zeros()) as usize;
        tree.learn(place(height, 0), root);
        tree
    }

    /// Whether the leaf at this index and its path lead to the root: the same answer as that of [`root_from_path`],
    /// for a path of the length that it must have.
    pub(crate) fn proves(&mut self, leaf: &Leaf, index: u8, path: &[[u8; 32]]) -> bool {
        if index >= self.size {
            return false;
        }
        let (mut at, mut last, mut hash) = (index, self.size - 1, leaf.0);
        let (mut height, mut siblings) = (0, path.iter());
        let mut climbed = [([0; 32], None); TREE_PATH_MAX];
        while !self.knows(place(height, at)) {
            // The root is known, so this is below it.
            let sibling = has_sibling(at, last).then(|| siblings.next()).flatten();
            climbed[height] = (hash, sibling);
            match sibling {
                Some(sibling) if at & 1 == 1 => hash = node(sibling, &hash),
                Some(sibling) => hash = node(&hash, sibling),
                None if has_sibling(at, last) => return false,
                None => {}
            }
            (at, last, height) = (at >> 1, last >> 1, height + 1);
        }
        if self.nodes[place(height, at)] != hash {
            return false;
        }
        let mut above = (height, at);
        while last > 0 {
            let (height, at) = above;
            if has_sibling(at, last) && siblings.next() != Some(&self.nodes[place(height, at ^ 1)])
            {
                return false;
            }
            (above, last) = ((height + 1, at >> 1), last >> 1);
        }
        if siblings.next().is_some() {
            return false;
        }
        for (below, (hash, sibling)) in climbed[..height].iter().enumerate() {
            self.learn(place(below, index >> below), *hash);
            if let Some(sibling) = sibling {
                self.learn(place(below, (index >> below) ^ 1), **sibling);
            }
        }
        true
    }

    fn knows(&self, place: usize) -> bool {
        (self.known >> place) & 1 == 1
    }

    fn learn(&mut self, place: usize, hash: [u8; 32]) {
        self.nodes[place] = hash;
        self.known |= 1 << place;
    }
}

/// Where a node is kept: those of a level side by side, the leaves first.
fn place(height: usize, at: u8) -> usize {
    (NODES_MAX + 1) - ((NODES_MAX + 1) >> height) + usize::from(at)
}

/// Whether the node at this place has a sibling, where `last` is the last place of its level.
fn has_sibling(at: u8, last: u8) -> bool {
    at & 1 == 1 || at < last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Leaf> {
        (0..n).map(|i| Leaf::of(b"test\0", &i.to_be_bytes())).collect()
    }

    /// The definition of the RFC, word for word.
    fn root_by_definition(leaves: &[Leaf]) -> [u8; 32] {
        if leaves.len() == 1 {
            return leaves[0].0;
        }
        let split = leaves.len().next_power_of_two() / 2;
        node(&root_by_definition(&leaves[..split]), &root_by_definition(&leaves[split..]))
    }

    #[test]
    fn every_size_has_the_root_of_the_definition_and_every_leaf_proves_itself() {
        for n in 1..=TREE_LEAVES_MAX {
            let leaves = leaves(n);
            let tree = Tree::new(&leaves);
            assert_eq!(tree.root(), root_by_definition(&leaves), "size {n}");
            for (index, leaf) in leaves.iter().enumerate() {
                let path: Vec<[u8; 32]> = tree.path(index).copied().collect();
                let (size, index) = (n as u8, index as u8);
                assert_eq!(path.len(), path_len(size, index), "size {n}, leaf {index}");
                assert_eq!(root_from_path(leaf, size, index, &path), Some(tree.root()));
            }
        }
    }

    #[test]
    fn a_proof_holds_for_one_place_only() {
        let leaves = leaves(7);
        let tree = Tree::new(&leaves);
        let path: Vec<[u8; 32]> = tree.path(2).copied().collect();
        for size in 0..=70 {
            for index in 0..=70 {
                let root = root_from_path(&leaves[2], size, index, &path);
                // The size is signed beside the root, so another size may lead to the same root.
                if index != 2 && size == 7 {
                    assert_ne!(root, Some(tree.root()), "size {size}, index {index}");
                }
                if size == 0 || size > 64 || index >= size {
                    assert_eq!(root, None);
                }
            }
        }
        assert_eq!(root_from_path(&leaves[2], 7, 2, &path[..2]), None);
    }

    /// A tree that is known in part says the same of every leaf, and of everything that is nearly one, as the path
    /// alone does, in whatever order leaves come.
    #[test]
    fn a_known_tree_proves_what_the_path_alone_proves() {
        let mut random = fastrand::Rng::with_seed(7);
        for n in (1..=TREE_LEAVES_MAX).chain([TREE_LEAVES_MAX; 8]) {
            let leaves = leaves(n);
            let tree = Tree::new(&leaves);
            let (size, root) = (n as u8, tree.root());
            let mut known = KnownTree::new(size, root);
            let mut order: Vec<usize> = (0..n).chain(0..n).collect();
            random.shuffle(&mut order);
            for index in order {
                let right: Vec<[u8; 32]> = tree.path(index).copied().collect();
                for turn in 0..6 {
                    let (mut leaf, mut at, mut path) = (leaves[index], index as u8, right.clone());
                    match turn {
                        0 => leaf.0[random.usize(..32)] ^= 1 << random.u8(..8),
                        1 if !path.is_empty() => {
                            let node = random.usize(..path.len());
                            path[node][random.usize(..32)] ^= 1 << random.u8(..8);
                        }
                        2 => at = random.u8(..70),
                        3 if !path.is_empty() => drop(path.pop()),
                        4 => path.push(random.choice(&right).copied().unwrap_or(root)),
                        _ => {}
                    }
                    let alone = root_from_path(&leaf, size, at, &path) == Some(root);
                    assert_eq!(
                        known.proves(&leaf, at, &path),
                        alone,
                        "size {n}, leaf {index}, {turn}"
                    );
                    assert!(turn != 5 || alone);
                }
            }
        }
    }

    #[test]
    fn every_node_has_a_place_of_its_own() {
        let places = (0..=TREE_PATH_MAX).flat_map(|height| {
            (0..TREE_LEAVES_MAX as u8 >> height).map(move |at| place(height, at))
        });
        assert!(places.eq(0..NODES_MAX));
    }

    #[test]
    fn no_leaf_before_is_43_times_a() {
        assert_eq!(Leaf::NONE.to_string(), "A".repeat(43));
        assert_eq!(Leaf::parse("A".repeat(43).as_bytes()), Some(Leaf::NONE));
        assert_eq!(Leaf::parse(("A".repeat(42) + "B").as_bytes()), None, "stray bits");
        assert_eq!(Leaf::parse("A".repeat(42).as_bytes()), None);
    }
}
