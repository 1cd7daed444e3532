//! The part of a Rego module that checks look at, in our own words, so that only `engine` knows
//! the library's syntax tree. Positions count from 1. No evaluation here.

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) package: Vec<String>,
    pub(crate) at: At,
    pub(crate) imports: Vec<Import>,
    pub(crate) rules: Vec<Rule>,
}

/// `import path as name`.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) name: String,
    pub(crate) at: At,
}

/// What a rule defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `name := value if …`, also with a reference head of constants.
    Value,
    /// `name[key] := value if …`.
    Object,
    /// `name contains item if …`.
    Set,
    /// `name(…) := value if …`.
    Function,
    /// `default name := value`.
    Default,
}

/// One definition of a rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// First word of the head.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) at: At,
    /// Parameters of a function: patterns that bind.
    pub(crate) params: Vec<Expr>,
    /// Keys in the head: of a partial set, or in brackets.
    pub(crate) keys: Vec<Expr>,
    /// The value in the head, or of a default.
    pub(crate) value: Option<Expr>,
    pub(crate) bodies: Vec<Body>,
}

/// A body, with the value of its `else`.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) value: Option<Expr>,
    pub(crate) query: Vec<Statement>,
}

/// One line of a body.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    /// `with target as value`.
    pub(crate) with: Vec<(Expr, Expr)>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Some(Vec<String>),
    SomeIn { patterns: Vec<Expr>, collection: Expr },
    Every { names: Vec<String>, domain: Expr, query: Vec<Statement> },
    Holds(Expr),
}

/// An expression. What no check looks at is folded into `Many`.
#[derive(Debug)]
pub(crate) enum Expr {
    Text {
        at: At,
        text: String,
    },
    Number {
        text: String,
    },
    /// `true`, `false`, `null`.
    Scalar,
    Name {
        at: At,
        name: String,
    },
    /// A reference: `root.step[step]…`.
    Reference {
        at: At,
        root: Box<Self>,
        steps: Vec<Step>,
    },
    Call {
        at: At,
        function: Vec<String>,
        arguments: Vec<Self>,
    },
    Object {
        at: At,
        fields: Vec<(Self, Self)>,
    },
    Array {
        items: Vec<Self>,
    },
    Comprehension {
        terms: Vec<Self>,
        query: Vec<Statement>,
    },
    /// `pattern := value` or `pattern = value`; the latter binds on both sides.
    Assign {
        declares: bool,
        pattern: Box<Self>,
        value: Box<Self>,
    },
    /// Sets and operators.
    Many(Vec<Self>),
}

/// A step of a reference.
#[derive(Debug)]
pub(crate) enum Step {
    /// `.word` or `["word"]`.
    Word(String),
    /// `[expression]`.
    Index(Expr),
}

impl Expr {
    /// Calls `visit` for this expression and everything inside it.
    pub(crate) fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Text { .. } | Self::Number { .. } | Self::Scalar | Self::Name { .. } => {}
            Self::Reference { root, steps, .. } => {
                root.each(visit);
                for step in steps {
                    if let Step::Index(index) = step {
                        index.each(visit);
                    }
                }
            }
            Self::Object { fields, .. } => {
                for (key, value) in fields {
                    key.each(visit);
                    value.each(visit);
                }
            }
            Self::Comprehension { terms, query } => {
                terms.iter().for_each(|term| term.each(visit));
                query.iter().for_each(|statement| statement.each(visit));
            }
            Self::Assign { pattern, value, .. } => {
                pattern.each(visit);
                value.each(visit);
            }
            Self::Call { arguments: items, .. } | Self::Array { items } | Self::Many(items) => {
                items.iter().for_each(|item| item.each(visit));
            }
        }
    }

    /// The text of a string literal.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text { text, .. } = self { Some(text) } else { None }
    }
}

impl Statement {
    /// Calls `visit` for every expression of the statement.
    pub(crate) fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Some(_) => {}
            Kind::SomeIn { patterns, collection } => {
                patterns.iter().for_each(|pattern| pattern.each(visit));
                collection.each(visit);
            }
            Kind::Every { domain, query, .. } => {
                domain.each(visit);
                query.iter().for_each(|statement| statement.each(visit));
            }
            Kind::Holds(expr) => expr.each(visit),
        }
        for (target, value) in &self.with {
            target.each(visit);
            value.each(visit);
        }
    }
}

impl Rule {
    /// Calls `visit` for every expression of the rule.
    pub(crate) fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        for expr in self.params.iter().chain(&self.keys).chain(&self.value) {
            expr.each(visit);
        }
        for body in &self.bodies {
            if let Some(value) = &body.value {
                value.each(visit);
            }
            body.query.iter().for_each(|statement| statement.each(visit));
        }
    }

    /// Every statement, those of comprehensions and `every` included.
    pub(crate) fn statements(&self) -> Vec<&Statement> {
        let mut queue: Vec<&[Statement]> =
            self.bodies.iter().map(|body| body.query.as_slice()).collect();
        self.each(&mut |expr| {
            if let Expr::Comprehension { query, .. } = expr {
                queue.push(query);
            }
        });
        let mut all = Vec::new();
        while let Some(query) = queue.pop() {
            for statement in query {
                all.push(statement);
                if let Kind::Every { query, .. } = &statement.kind {
                    queue.push(query);
                }
            }
        }
        all
    }
}
