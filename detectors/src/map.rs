//! Where the bytes of a decoded text stood in the text it was decoded from.

use std::ops::Range;

/// One piece that changed its length: an escape, a removed character, a whole encoded run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Atom {
    inner: usize,
    inner_len: usize,
    outer: usize,
    outer_len: usize,
}

/// Maps offsets of the inner (decoded) text to the outer one. Between atoms both run in step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// Outer offset of the inner text's start.
    base: usize,
    /// By rising `inner`.
    atoms: Vec<Atom>,
}

impl Map {
    /// The inner text stands unchanged at `base`.
    pub(crate) const fn at(base: usize) -> Self {
        Self { base, atoms: Vec::new() }
    }

    /// All of the inner text comes from `run`, and no part of it can be told apart.
    pub(crate) fn whole(inner_len: usize, run: Range<usize>) -> Self {
        let outer_len = run.end.saturating_sub(run.start);
        let atom = Atom { inner: 0, inner_len, outer: run.start, outer_len };
        Self { base: run.start, atoms: vec![atom] }
    }

    /// Notes that `inner_len` bytes at `inner` came from `outer_len` bytes at `outer`. Calls come
    /// in rising order.
    pub(crate) fn push(&mut self, inner: Range<usize>, outer: Range<usize>) {
        self.atoms.push(Atom {
            inner: inner.start,
            inner_len: inner.end.saturating_sub(inner.start),
            outer: outer.start,
            outer_len: outer.end.saturating_sub(outer.start),
        });
    }

    /// The outer span of a non-empty inner one, widened to whole atoms.
    pub(crate) fn span(&self, inner: Range<usize>) -> Range<usize> {
        let last = inner.end.saturating_sub(1).max(inner.start);
        self.byte(inner.start).start..self.byte(last).end
    }

    /// The outer bytes that gave the inner byte at `inner`.
    fn byte(&self, inner: usize) -> Range<usize> {
        let after = self.atoms.partition_point(|atom| atom.inner <= inner);
        let Some(atom) = after.checked_sub(1).and_then(|index| self.atoms.get(index)) else {
            let outer = self.base.saturating_add(inner);
            return outer..outer.saturating_add(1);
        };
        let into = inner.saturating_sub(atom.inner);
        let outer_end = atom.outer.saturating_add(atom.outer_len);
        if into < atom.inner_len {
            return atom.outer..outer_end;
        }
        let outer = outer_end.saturating_add(into.saturating_sub(atom.inner_len));
        outer..outer.saturating_add(1)
    }

    /// The inner offset of the first byte that an outer offset gave, for offsets that [`Map::span`]
    /// returned as a start.
    pub(crate) fn back(&self, outer: usize) -> usize {
        let after = self.atoms.partition_point(|atom| atom.outer <= outer);
        let Some(atom) = after.checked_sub(1).and_then(|index| self.atoms.get(index)) else {
            return outer.saturating_sub(self.base);
        };
        let into = outer.saturating_sub(atom.outer);
        if into < atom.outer_len {
            return atom.inner;
        }
        let past = into.saturating_sub(atom.outer_len);
        atom.inner.saturating_add(atom.inner_len).saturating_add(past)
    }

    /// The inner offset after the last byte before an outer end offset.
    pub(crate) fn back_end(&self, outer: usize) -> usize {
        let Some(last) = outer.checked_sub(1) else { return 0 };
        let after = self.atoms.partition_point(|atom| atom.outer <= last);
        let Some(atom) = after.checked_sub(1).and_then(|index| self.atoms.get(index)) else {
            return outer.saturating_sub(self.base);
        };
        let into = last.saturating_sub(atom.outer);
        let atom_end = atom.inner.saturating_add(atom.inner_len);
        if into < atom.outer_len {
            return atom_end;
        }
        atom_end.saturating_add(into.saturating_sub(atom.outer_len)).saturating_add(1)
    }
}
