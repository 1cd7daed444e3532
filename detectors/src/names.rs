//! Names around a text: in JSON the path of keys is the context that prose has in its words.

use std::cell::OnceCell;

use crate::json::tree::Tree;
use crate::text::words;

/// Names around a text, looked up when a rule first asks.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    /// The document and the value that the text is.
    pub(crate) place: Option<(&'a Tree<'a>, usize)>,
    /// Names around the document that the text stands in.
    pub(crate) outer: Option<&'a Self>,
    context: OnceCell<String>,
}

impl<'a> Names<'a> {
    pub(crate) const fn of(tree: &'a Tree<'a>, node: usize, outer: Option<&'a Self>) -> Self {
        Self { place: Some((tree, node)), outer, context: OnceCell::new() }
    }

    /// The names as [`words`] writes them, nearest first.
    pub(crate) fn context(&self) -> &str {
        self.context.get_or_init(|| {
            let own = self.place.map(|(tree, node)| tree.context(node)).unwrap_or_default();
            let outer = self.outer.map_or("", |outer| outer.context());
            format!("{} {outer}", words(&own))
        })
    }
}
