//! Published vectors, and every small tree against the definition written down naively.

#![expect(clippy::as_conversions, clippy::arithmetic_side_effects, reason = "small numbers")]

use forge_schemas::digest::{hex, unhex};

use super::*;

/// RFC 6962 §2.1, word for word.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        more => {
            let k = usize::try_from(split(more.len() as u64)).unwrap();
            node_hash(&naive_root(&more[..k]), &naive_root(&more[k..]))
        }
    }
}

fn naive_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let k = usize::try_from(split(leaves.len() as u64)).unwrap();
    let (mut path, sibling) = if index < k {
        (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(index - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

fn naive_subproof(old: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = usize::try_from(split(leaves.len() as u64)).unwrap();
    let (mut proof, sibling) = if old <= k {
        (naive_subproof(old, &leaves[..k], whole), naive_root(&leaves[k..]))
    } else {
        (naive_subproof(old - k, &leaves[k..], false), naive_root(&leaves[..k]))
    };
    proof.push(sibling);
    proof
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|index| leaf_hash(format!("leaf {index}").as_bytes())).collect()
}

fn tree(leaves: &[Digest]) -> Tree {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

/// The leaves and roots of certificate-transparency's reference tests (RFC 6962 hashing).
#[test]
fn roots_are_those_of_the_published_vectors() {
    let inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    assert_eq!(
        hex(empty_root().as_bytes()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut frontier = Frontier::default();
    for (input, root) in inputs.iter().zip(roots) {
        frontier.push(leaf_hash(&unhex(input).unwrap()));
        assert_eq!(frontier.root().hex(), root, "{} leaves", frontier.size());
    }
}

#[test]
fn roots_and_proofs_of_every_small_tree_are_those_of_the_definition() {
    let all = leaves(70);
    let tree = tree(&all);
    let mut frontier = Frontier::default();
    for size in 1..=all.len() {
        let leaves = &all[..size];
        let root = naive_root(leaves);
        frontier.push(all[size - 1]);
        assert_eq!((frontier.root(), frontier.size()), (root, size as u64));
        assert_eq!(tree.root(size as u64).unwrap(), root);
        let peaks: Vec<Digest> = frontier.peaks().copied().collect();
        assert_eq!(Frontier::from_peaks(size as u64, &peaks).unwrap(), frontier);
        for index in 0..size {
            let path = tree.inclusion(index as u64, size as u64).unwrap();
            assert_eq!(path, naive_path(index, leaves));
            assert!(verify_inclusion(&leaves[index], index as u64, size as u64, &path, &root));
        }
        for old in 1..=size {
            let proof = tree.consistency(old as u64, size as u64).unwrap();
            assert_eq!(proof, naive_subproof(old, leaves, true), "{old} to {size}");
            let earlier = naive_root(&all[..old]);
            assert!(verify_consistency((old as u64, &earlier), (size as u64, &root), &proof));
        }
    }
}

#[test]
fn a_range_and_its_two_covers_give_the_root() {
    let all = leaves(50);
    let tree = tree(&all);
    for size in 1..=50_u64 {
        for first in 0..=size {
            for end in first..=size {
                let left = tree.cover(0, first).unwrap();
                let mut frontier = Frontier::from_peaks(first, &left).unwrap();
                all[first as usize..end as usize].iter().for_each(|leaf| frontier.push(*leaf));
                let right = tree.cover(end, size).unwrap();
                for (level, hash) in cover(end, size).into_iter().zip(right) {
                    frontier.push_subtree(level, hash).unwrap();
                }
                assert_eq!((frontier.size(), frontier.root()), (size, tree.root(size).unwrap()));
            }
        }
    }
}

#[test]
fn a_proof_for_something_else_is_refused() {
    let all = leaves(21);
    let tree = tree(&all);
    let other = leaf_hash(b"other");
    for size in 2..=21_u64 {
        let root = tree.root(size).unwrap();
        for index in 0..size {
            let leaf = all[index as usize];
            let path = tree.inclusion(index, size).unwrap();
            assert!(!verify_inclusion(&other, index, size, &path, &root));
            assert!(!verify_inclusion(&leaf, index, size, &path, &other));
            assert!(!verify_inclusion(&leaf, size, size, &path, &root));
            let wrong = (index + 1) % size;
            assert!(!verify_inclusion(&leaf, wrong, size, &path, &root));
            for at in 0..path.len() {
                let mut bent = path.clone();
                bent[at] = other;
                assert!(!verify_inclusion(&leaf, index, size, &bent, &root));
                bent.remove(at);
                assert!(!verify_inclusion(&leaf, index, size, &bent, &root));
            }
            let longer: Vec<Digest> = path.iter().copied().chain([other]).collect();
            assert!(!verify_inclusion(&leaf, index, size, &longer, &root));
        }
        for old in 1..size {
            let earlier = tree.root(old).unwrap();
            let proof = tree.consistency(old, size).unwrap();
            assert!(!verify_consistency((old, &other), (size, &root), &proof));
            assert!(!verify_consistency((old, &earlier), (size, &other), &proof));
            assert!(!verify_consistency((size, &root), (old, &earlier), &proof));
            for at in 0..proof.len() {
                let mut bent = proof.clone();
                bent[at] = other;
                assert!(!verify_consistency((old, &earlier), (size, &root), &bent));
                bent.remove(at);
                assert!(!verify_consistency((old, &earlier), (size, &root), &bent));
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let tree = tree(&leaves(5));
    assert!(tree.root(6).is_err());
    assert!(tree.inclusion(5, 5).is_err());
    assert!(tree.inclusion(0, 6).is_err());
    assert!(tree.consistency(0, 5).is_err());
    assert!(tree.consistency(6, 5).is_err());
    assert!(Frontier::from_peaks(5, &leaves(3)).is_err());
    let mut frontier = Frontier::from_peaks(5, &leaves(2)).unwrap();
    assert!(frontier.push_subtree(1, leaf_hash(b"")).is_err());
    assert!(frontier.push_subtree(64, leaf_hash(b"")).is_err());
}
