//! RFC 6962 Merkle trees: hashing, roots, inclusion and consistency proofs.
//!
//! [`Frontier`] is what a log needs to grow and to know its root: at most 64 hashes. [`Tree`] keeps
//! the hash of every complete subtree and makes proofs; whoever exports builds one from the leaves.
//! Nothing here knows of checkpoints or files.

use forge_schemas::digest::Digest;

/// RFC 6962 §2.1: the hash of a leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], leaf])
}

/// RFC 6962 §2.1: the hash of an inner node.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// RFC 6962 §2.1: the root of the empty tree.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a tree: the roots of its complete subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<(u32, Digest)>,
}

/// The hashes or subtrees do not fit the place where they were put.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    /// A frontier of this size has another number of peaks.
    #[error("a tree of {size} leaves has {want} complete subtrees, got {seen}")]
    Peaks {
        /// Leaves.
        size: u64,
        /// Peaks of such a tree.
        want: u32,
        /// Hashes given.
        seen: usize,
    },
    /// A subtree of this level cannot start here.
    #[error("no complete subtree of level {level} starts at leaf {size}")]
    Alignment {
        /// Where it would start.
        size: u64,
        /// Its level.
        level: u32,
    },
    /// More leaves than a tree can have.
    #[error("a tree has at most 2^63 leaves")]
    Size,
    /// The range is not inside the tree.
    #[error("leaves {first} to {end} are not inside a tree of {size}")]
    Range {
        /// First leaf.
        first: u64,
        /// Leaf after the last.
        end: u64,
        /// Leaves of the tree.
        size: u64,
    },
}

impl Frontier {
    /// The edge of a tree of `size` leaves, given the roots of its complete subtrees from left to
    /// right.
    ///
    /// # Errors
    /// If their number is not the number of ones in `size`.
    pub fn from_peaks(size: u64, hashes: &[Digest]) -> Result<Self, ShapeError> {
        let want = size.count_ones();
        if usize::try_from(want) != Ok(hashes.len()) {
            return Err(ShapeError::Peaks { size, want, seen: hashes.len() });
        }
        let levels = (0..u64::BITS).rev().filter(|level| size.checked_shr(*level).is_some_and(odd));
        Ok(Self { size, peaks: levels.zip(hashes.iter().copied()).collect() })
    }

    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, from left to right.
    pub fn peaks(&self) -> impl Iterator<Item = &Digest> {
        self.peaks.iter().map(|(_level, hash)| hash)
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        self.join(0, leaf);
        self.size = self.size.saturating_add(1);
    }

    /// Adds a complete subtree of `2^level` leaves by its root.
    ///
    /// # Errors
    /// If such a subtree cannot start here.
    pub fn push_subtree(&mut self, level: u32, root: Digest) -> Result<(), ShapeError> {
        let leaves = 1_u64.checked_shl(level).ok_or(ShapeError::Size)?;
        if !self.size.is_multiple_of(leaves) {
            return Err(ShapeError::Alignment { size: self.size, level });
        }
        let size = self.size.checked_add(leaves).ok_or(ShapeError::Size)?;
        self.join(level, root);
        self.size = size;
        Ok(())
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev().map(|(_level, hash)| *hash);
        match peaks.next() {
            Some(last) => peaks.fold(last, |right, left| node_hash(&left, &right)),
            None => empty_root(),
        }
    }

    fn join(&mut self, mut level: u32, mut hash: Digest) {
        while let Some((_, left)) = self.peaks.pop_if(|(peak, _)| *peak == level) {
            hash = node_hash(&left, &hash);
            level = level.saturating_add(1);
        }
        self.peaks.push((level, hash));
    }
}

/// Levels of the complete subtrees that cover leaves `first` to `end` from left to right, each as
/// large as its place allows.
#[must_use]
pub fn cover(first: u64, end: u64) -> Vec<u32> {
    let mut levels = Vec::new();
    let mut at = first;
    while at < end {
        let room = end.saturating_sub(at).ilog2();
        let level = if at == 0 { room } else { room.min(at.trailing_zeros()) };
        levels.push(level);
        at = at.saturating_add(1_u64.checked_shl(level).unwrap_or(u64::MAX));
    }
    levels
}

/// A tree with the hash of every complete subtree: about 64 bytes of memory for each leaf.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| u64::try_from(leaves.len()).unwrap_or(u64::MAX))
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut carried = Some(leaf);
        let mut level = 0;
        while let Some(hash) = carried.take() {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            if let Some(hashes) = self.levels.get_mut(level) {
                hashes.push(hash);
                if let (true, [.., left, right]) = (hashes.len().is_multiple_of(2), &hashes[..]) {
                    carried = Some(node_hash(left, right));
                }
            }
            level = level.saturating_add(1);
        }
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn root(&self, size: u64) -> Result<Digest, ShapeError> {
        self.range(0, size)
    }

    /// The roots of the subtrees of [`cover`].
    ///
    /// # Errors
    /// If the range is not inside the tree.
    pub fn cover(&self, first: u64, end: u64) -> Result<Vec<Digest>, ShapeError> {
        let mut at = first;
        let mut hashes = Vec::new();
        for level in cover(first, end) {
            let next = at.saturating_add(1_u64.checked_shl(level).unwrap_or(u64::MAX));
            hashes.push(self.range(at, next)?);
            at = next;
        }
        Ok(hashes)
    }

    /// RFC 6962 §2.1.1: the audit path of leaf `index` in the tree of `size` leaves.
    ///
    /// # Errors
    /// If the leaf is not inside that tree, or the tree not inside this one.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ShapeError> {
        if index >= size || size > self.size() {
            return Err(self.outside(index, size));
        }
        let (mut first, mut end) = (0_u64, size);
        let mut path = Vec::new();
        while end.saturating_sub(first) > 1 {
            let middle = first.saturating_add(split(end.saturating_sub(first)));
            if index < middle {
                path.push(self.range(middle, end)?);
                end = middle;
            } else {
                path.push(self.range(first, middle)?);
                first = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// RFC 6962 §2.1.2: that the tree of `old` leaves is the beginning of the tree of `new` leaves.
    ///
    /// # Errors
    /// If `old` is 0 or larger than `new`, or the tree is not inside this one.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ShapeError> {
        if old == 0 || old > new || new > self.size() {
            return Err(self.outside(old, new));
        }
        let (mut first, mut end) = (0_u64, new);
        let mut whole = true;
        let mut proof = Vec::new();
        while old < end {
            let middle = first.saturating_add(split(end.saturating_sub(first)));
            if old <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(first, middle)?);
                first = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.range(first, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// MTH of RFC 6962 §2.1 over leaves `first` to `end`, where `first` is a multiple of the
    /// smallest power of two that holds the range.
    fn range(&self, first: u64, end: u64) -> Result<Digest, ShapeError> {
        let leaves = end.saturating_sub(first);
        if leaves == 0 {
            return Ok(empty_root());
        }
        if leaves.is_power_of_two() {
            let level = leaves.ilog2();
            let index = first.checked_shr(level).and_then(|at| usize::try_from(at).ok());
            let hashes = usize::try_from(level).ok().and_then(|level| self.levels.get(level));
            let hash = hashes.zip(index).and_then(|(hashes, index)| hashes.get(index));
            return hash.copied().ok_or_else(|| self.outside(first, end));
        }
        let middle = first.saturating_add(split(leaves));
        Ok(node_hash(&self.range(first, middle)?, &self.range(middle, end)?))
    }

    fn outside(&self, first: u64, end: u64) -> ShapeError {
        ShapeError::Range { first, end, size: self.size() }
    }
}

/// RFC 9162 §2.1.3.2: does `path` prove that the leaf with this hash stands at `index` of the tree?
#[must_use]
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size.saturating_sub(1));
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if odd(node) || node == last {
            hash = node_hash(sibling, &hash);
            while !odd(node) && node != 0 {
                (node, last) = (half(node), half(last));
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (half(node), half(last));
    }
    last == 0 && hash == *root
}

/// RFC 9162 §2.1.4.2: does `proof` show that the tree `(old, old_root)` is the beginning of the
/// tree `(new, new_root)`?
#[must_use]
pub fn verify_consistency(
    (old, old_root): (u64, &Digest),
    (new, new_root): (u64, &Digest),
    proof: &[Digest],
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut path = proof.iter();
    let start = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut node, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while odd(node) {
        (node, last) = (half(node), half(last));
    }
    let (mut left, mut right) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if odd(node) || node == last {
            left = node_hash(sibling, &left);
            right = node_hash(sibling, &right);
            while !odd(node) && node != 0 {
                (node, last) = (half(node), half(last));
            }
        } else {
            right = node_hash(&right, sibling);
        }
        (node, last) = (half(node), half(last));
    }
    last == 0 && left == *old_root && right == *new_root
}

/// The largest power of two below `leaves`; `leaves` is at least 2.
fn split(leaves: u64) -> u64 {
    1_u64.checked_shl(leaves.saturating_sub(1).max(1).ilog2()).unwrap_or(1)
}

const fn odd(number: u64) -> bool {
    number & 1 == 1
}

const fn half(number: u64) -> u64 {
    number >> 1
}

#[cfg(test)]
mod tests;
