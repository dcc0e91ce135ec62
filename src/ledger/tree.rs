//! The Merkle tree's own arithmetic (RFC 6962 §2.1): roots, proofs of inclusion and of consistency, and their checking.
//!
//! A *node* is the root of a perfect subtree: `(height, index)` spans the leaves from `index << height` on, `1 << height`
//! of them. Proofs are made of nodes that somebody holds ([`Nodes`]) and checked with nothing but themselves.

use super::hash::Hash;

/// Proofs of trees of 2^64 leaves are no longer.
pub const PROOF_HASHES_MAX: usize = 64;

/// The root of a perfect subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    pub height: u32,
    pub index: u64,
}

/// Whoever can give the hashes of nodes. `None`: it is not there, or not to be had.
pub trait Nodes {
    fn node(&self, node: Node) -> Option<Hash>;
}

impl<F: Fn(Node) -> Option<Hash>> Nodes for F {
    fn node(&self, node: Node) -> Option<Hash> {
        self(node)
    }
}

/// Why a proof was not made, or does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the tree of {size} entries has no entry {index}")]
    Outside { index: u64, size: u64 },
    #[error("a tree of {old} entries can't have grown into one of {new}")]
    Shrinks { old: u64, new: u64 },
    #[error("a hash of the tree is missing")]
    Missing,
    #[error("the proof has {found} hashes, and should have {expected}")]
    Length { found: usize, expected: usize },
    #[error("the proof leads to another root")]
    OtherRoot,
    #[error("the proof leads to another root of the smaller tree")]
    OtherOldRoot,
}

/// The perfect subtrees that the leaves from `start` to `end` fall into, from the left. `start` is where a subtree of that
/// size may begin, as it is in every use here.
fn subtrees(start: u64, end: u64) -> Vec<Node> {
    let (mut at, mut found) = (start, Vec::new());
    while at < end {
        let fits = 63 - (end - at).leading_zeros();
        let height = fits.min(if at == 0 { 63 } else { at.trailing_zeros() });
        found.push(Node { height, index: at >> height });
        at = at.saturating_add(1_u64 << height);
    }
    found
}

/// The root over hashes of subtrees that stand side by side, the larger ones left.
pub fn fold(hashes: impl DoubleEndedIterator<Item = Hash>) -> Option<Hash> {
    hashes.rev().reduce(|right, left| Hash::of_node(&left, &right))
}

/// The root of a perfect subtree, from all the hashes of one height under it. `hashes` are 1, 2, 4, … of them.
pub fn perfect(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).filter_map(|pair| fold(pair.iter().copied())).collect();
    }
    row.first().copied()
}

/// The root over any number of hashes of one height: those of all leaves, for one.
pub fn root_over(hashes: &[Hash]) -> Hash {
    let len = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
    let mut rest = hashes;
    let roots: Vec<Hash> = subtrees(0, len)
        .into_iter()
        .filter_map(|node| {
            let (under, others) = rest.split_at_checked(1_usize << node.height)?;
            rest = others;
            perfect(under)
        })
        .collect();
    fold(roots.into_iter()).unwrap_or_else(Hash::of_nothing)
}

fn range(nodes: &impl Nodes, start: u64, end: u64) -> Result<Hash, ProofError> {
    let hashes: Option<Vec<Hash>> = subtrees(start, end).into_iter().map(|node| nodes.node(node)).collect();
    fold(hashes.ok_or(ProofError::Missing)?.into_iter()).ok_or(ProofError::Missing)
}

/// The root of the tree of `size` entries.
///
/// # Errors
/// [`ProofError::Missing`].
pub fn root(nodes: &impl Nodes, size: u64) -> Result<Hash, ProofError> {
    if size == 0 { Ok(Hash::of_nothing()) } else { range(nodes, 0, size) }
}

/// The largest power of two below `size`, which is at least 2 (RFC 6962: `k`).
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The proof that entry `index` is in the tree of `size` entries (RFC 6962 §2.1.1), from the leaf's sibling up.
///
/// # Errors
/// [`ProofError`].
pub fn prove_inclusion(nodes: &impl Nodes, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::Outside { index, size });
    }
    let (mut start, mut end, mut path) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range(nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Checks that a leaf is entry `index` of the tree of `size` entries with this root.
///
/// # Errors
/// [`ProofError`].
pub fn check_inclusion(proof: &[Hash], index: u64, size: u64, leaf: Hash, root: Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside { index, size });
    }
    let sides = inclusion_sides(index, size);
    if sides.len() != proof.len() {
        return Err(ProofError::Length { found: proof.len(), expected: sides.len() });
    }
    let led = sides.iter().zip(proof).fold(leaf, |hash, (side, sibling)| match side {
        Side::Left => Hash::of_node(sibling, &hash),
        Side::Right => Hash::of_node(&hash, sibling),
    });
    if led == root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

/// On which side of the way up a sibling stands.
enum Side {
    Left,
    Right,
}

fn inclusion_sides(index: u64, size: u64) -> Vec<Side> {
    let (mut start, mut end, mut sides) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            sides.push(Side::Right);
            end = middle;
        } else {
            sides.push(Side::Left);
            start = middle;
        }
    }
    sides.reverse();
    sides
}

/// The proof that the tree of `old` entries is how the tree of `new` entries begins (RFC 6962 §2.1.2).
///
/// # Errors
/// [`ProofError`].
pub fn prove_consistency(nodes: &impl Nodes, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end, mut path) = (0, new, Vec::new());
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range(nodes, start, middle)?);
            start = middle;
        }
    }
    // The subtree that both share is left out where it is the whole of the old tree: its root is known.
    if start != 0 {
        path.push(range(nodes, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the tree of `new` entries begins with the tree of `old` entries.
///
/// # Errors
/// [`ProofError`].
pub fn check_consistency(
    proof: &[Hash],
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    if old == 0 || old == new {
        return check_trivial(proof, (old, old_root), (new, new_root));
    }
    let (sides, starts_inside) = consistency_sides(old, new);
    let expected = sides.len() + usize::from(starts_inside);
    if proof.len() != expected {
        return Err(ProofError::Length { found: proof.len(), expected });
    }
    let (mut in_old, siblings) = match proof.split_first() {
        Some((first, rest)) if starts_inside => (*first, rest),
        _ => (old_root, proof),
    };
    let mut in_new = in_old;
    for (side, sibling) in sides.iter().zip(siblings) {
        if let Side::Left = side {
            in_old = Hash::of_node(sibling, &in_old);
            in_new = Hash::of_node(sibling, &in_new);
        } else {
            in_new = Hash::of_node(&in_new, sibling);
        }
    }
    if in_old != old_root {
        return Err(ProofError::OtherOldRoot);
    }
    if in_new == new_root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

fn check_trivial(proof: &[Hash], (old, old_root): (u64, Hash), (new, new_root): (u64, Hash)) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::Length { found: proof.len(), expected: 0 });
    }
    if old == 0 && old_root != Hash::of_nothing() {
        return Err(ProofError::OtherOldRoot);
    }
    if old == new && old_root != new_root {
        return Err(ProofError::OtherRoot);
    }
    Ok(())
}

/// The sides from the shared subtree up, and whether its hash stands in the proof.
fn consistency_sides(old: u64, new: u64) -> (Vec<Side>, bool) {
    let (mut start, mut end, mut sides) = (0, new, Vec::new());
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            sides.push(Side::Right);
            end = middle;
        } else {
            sides.push(Side::Left);
            start = middle;
        }
    }
    sides.reverse();
    (sides, start != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect()
    }

    /// RFC 6962 §2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of_nothing(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(usize::try_from(split(leaves.len() as u64)).unwrap());
                Hash::of_node(&by_definition(left), &by_definition(right))
            }
        }
    }

    fn nodes(leaves: &[Hash]) -> impl Nodes + '_ {
        move |node: Node| {
            let start = usize::try_from(node.index << node.height).ok()?;
            perfect(leaves.get(start..start + (1 << node.height))?)
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let all = leaves(70);
        for size in 0..=70 {
            let some = &all[..size];
            assert_eq!(root_over(some), by_definition(some), "{size}");
            assert_eq!(root(&nodes(some), size as u64), Ok(by_definition(some)), "{size}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_proves_its_place_and_no_other(size in 1_u64..300, index in 0_u64..300, other in 0_u64..300) {
            let (index, other) = (index % size, other % size);
            let all = leaves(size);
            let root = by_definition(&all);
            let proof = prove_inclusion(&nodes(&all), index, size).unwrap();
            let leaf = |at: u64| all[usize::try_from(at).unwrap()];
            prop_assert_eq!(check_inclusion(&proof, index, size, leaf(index), root), Ok(()));
            if other != index {
                prop_assert!(check_inclusion(&proof, index, size, leaf(other), root).is_err());
                prop_assert!(check_inclusion(&proof, other, size, leaf(index), root).is_err());
            }
            prop_assert!(check_inclusion(&proof, index, size, leaf(index), Hash::of_nothing()).is_err());
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at] = Hash::of_leaf(b"altered");
                prop_assert!(check_inclusion(&altered, index, size, leaf(index), root).is_err());
                altered.remove(at);
                prop_assert!(check_inclusion(&altered, index, size, leaf(index), root).is_err());
            }
        }

        #[test]
        fn a_tree_proves_how_it_began(new in 1_u64..300, old in 0_u64..300, other in 0_u64..300) {
            let (old, other) = (old % (new + 1), other % (new + 1));
            let all = leaves(new);
            let at = |size: u64| (size, by_definition(&all[..usize::try_from(size).unwrap()]));
            let proof = prove_consistency(&nodes(&all), old, new).unwrap();
            prop_assert_eq!(check_consistency(&proof, at(old), at(new)), Ok(()));
            if other != old {
                prop_assert!(check_consistency(&proof, (old, at(other).1), at(new)).is_err() || old == 0);
            }
            let fork = (new, Hash::of_leaf(b"fork"));
            // A tree of one entry or more is never how another one began.
            prop_assert!(check_consistency(&proof, at(old), fork).is_err() || old == 0);
            for place in 0..proof.len() {
                let mut altered = proof.clone();
                altered[place] = Hash::of_leaf(b"altered");
                prop_assert!(check_consistency(&altered, at(old), at(new)).is_err());
            }
        }
    }

    #[test]
    fn nothing_is_proven_of_what_is_not_there() {
        let all = leaves(3);
        assert_eq!(prove_inclusion(&nodes(&all), 3, 3), Err(ProofError::Outside { index: 3, size: 3 }));
        assert_eq!(prove_inclusion(&nodes(&all), 0, 4), Err(ProofError::Missing));
        assert_eq!(prove_consistency(&nodes(&all), 4, 3), Err(ProofError::Shrinks { old: 4, new: 3 }));
    }
}
