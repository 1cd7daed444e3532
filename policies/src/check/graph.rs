//! Who calls whom. A function that calls itself overflows the stack of the process that evaluates
//! it, and no limit catches that; OPA refuses recursion when it compiles, and so do we.

use super::{Fault, code};
use crate::check::names::{Locals, Symbols, Target, words};
use crate::syntax::{Expr, Module};

/// Longest chain of rules that call one another.
pub(crate) const CALL_DEPTH_MAX: usize = 64;

/// Cycles and chains that are too long.
pub(super) fn check(modules: &[Module], symbols: &Symbols<'_>) -> Vec<Fault> {
    let edges = edges(modules, symbols);
    let mut search = Search::new(edges.len());
    for node in 0..edges.len() {
        search.visit(node, &edges);
    }
    let fault = |node: &usize, code: &str, tail: &str| {
        let node = symbols.nodes().get(*node)?;
        let name = node.path.last().map_or("", String::as_str);
        Some(Fault::at(&node.file, node.at, code, format!("the rule {name} {tail}")))
    };
    let cycles = search.cyclic.iter().filter_map(|node| {
        fault(node, code::RECURSION, "depends on itself; Rego has no recursion")
    });
    let deep = search.depth.iter().enumerate().filter(|(_node, depth)| **depth > CALL_DEPTH_MAX);
    let tail = format!("stands on a chain of more than {CALL_DEPTH_MAX} rules");
    let deep = deep.filter_map(|(node, _depth)| fault(&node, code::CALL_DEPTH, &tail)).take(1);
    cycles.chain(deep).collect()
}

fn edges(modules: &[Module], symbols: &Symbols<'_>) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); symbols.nodes().len()];
    for module in modules {
        for rule in &module.rules {
            let path: Vec<String> =
                module.package.iter().cloned().chain([rule.name.clone()]).collect();
            let Some(from) = symbols.node(&path).and_then(|node| edges.get_mut(node)) else {
                continue;
            };
            let locals = Locals::of(rule);
            rule.each(&mut |expr| {
                if let Some((_at, Target::Data(hops))) = symbols.target(module, &locals, expr) {
                    from.extend(symbols.reached(&words(&hops)));
                } else if let Expr::Call { function, .. } = expr
                    && let Some(path) = symbols.called(module, function)
                {
                    from.extend(symbols.reached(&path));
                }
            });
        }
    }
    for from in &mut edges {
        from.sort_unstable();
        from.dedup();
    }
    edges
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    White,
    Grey,
    Black,
}

/// Depth first, with a stack of our own: the bundle may be hostile.
struct Search {
    colour: Vec<Colour>,
    depth: Vec<usize>,
    cyclic: Vec<usize>,
}

impl Search {
    fn new(nodes: usize) -> Self {
        Self { colour: vec![Colour::White; nodes], depth: vec![0; nodes], cyclic: Vec::new() }
    }

    fn colour(&self, node: usize) -> Colour {
        self.colour.get(node).copied().unwrap_or(Colour::Black)
    }

    fn paint(&mut self, node: usize, colour: Colour) {
        if let Some(slot) = self.colour.get_mut(node) {
            *slot = colour;
        }
    }

    fn visit(&mut self, start: usize, edges: &[Vec<usize>]) {
        if self.colour(start) != Colour::White {
            return;
        }
        let mut stack = vec![(start, 0_usize)];
        self.paint(start, Colour::Grey);
        while let Some((node, next)) = stack.last_mut() {
            let node = *node;
            let target = edges.get(node).and_then(|targets| targets.get(*next)).copied();
            *next = next.saturating_add(1);
            match target {
                Some(target) if self.colour(target) == Colour::White => {
                    self.paint(target, Colour::Grey);
                    stack.push((target, 0));
                }
                Some(target) if self.colour(target) == Colour::Grey => self.cyclic.push(target),
                Some(_) => {}
                None => {
                    self.leave(node, edges);
                    stack.pop();
                }
            }
        }
    }

    fn leave(&mut self, node: usize, edges: &[Vec<usize>]) {
        let below = edges.get(node).into_iter().flatten();
        let deepest = below.filter_map(|target| self.depth.get(*target)).max().copied();
        if let Some(slot) = self.depth.get_mut(node) {
            *slot = deepest.unwrap_or(0).saturating_add(1);
        }
        self.paint(node, Colour::Black);
    }
}
