//! Parses one file and translates the library's syntax tree into `crate::syntax`.
//!
//! The tree types are exported by regorus as `unstable`; the version is pinned, and a change shows
//! up here as a compile error.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a syntax tree is searched for the few shapes that matter"
)]

use regorus::Source as Text;
use regorus::unstable as rego;

use super::located;
use crate::bundle::Source;
use crate::check::Fault;
use crate::syntax::{At, Body, Expr, Import, Kind, Module, Rule, Shape, Statement, Step};

/// Parses `source` as Rego v1. The caller has counted its brackets before (`crate::scan`).
pub(crate) fn parse(source: &Source) -> Result<Module, Box<Fault>> {
    let read = || -> Result<Module, String> {
        let text = Text::from_contents(source.path.clone(), source.text.clone())
            .map_err(|error| error.to_string())?;
        let mut parser = rego::Parser::new(&text).map_err(|error| error.to_string())?;
        parser.enable_rego_v1().map_err(|error| error.to_string())?;
        let module = parser.parse().map_err(|error| error.to_string())?;
        Ok(module_of(&source.path, &module))
    };
    read().map_err(|text| {
        let found = located(&text);
        let (line, column) = found.place.map_or((1, 1), |(_file, line, column)| (line, column));
        Box::new(Fault::new(&source.path, line, column, crate::check::code::SYNTAX, found.sentence))
    })
}

fn module_of(file: &str, module: &rego::Module) -> Module {
    let imports = module.imports.iter().filter_map(import_of).collect();
    let rules = module.policy.iter().map(|rule| rule_of(rule)).collect();
    Module {
        file: file.to_owned(),
        package: path_of(&module.package.refr).unwrap_or_default(),
        at: at(&module.package.span),
        imports,
        rules,
    }
}

/// `import rego.v1` and `future` imports only switch syntax on.
fn import_of(import: &rego::Import) -> Option<Import> {
    let path = path_of(&import.refr)?;
    if matches!(path.first().map(String::as_str), Some("rego" | "future")) {
        return None;
    }
    let name = match &import.r#as {
        Some(span) => span.text().to_owned(),
        None => path.last()?.clone(),
    };
    Some(Import { path, name, at: at(&import.span) })
}

fn rule_of(rule: &rego::Rule) -> Rule {
    match rule {
        rego::Rule::Default { span, refr, args, value, .. } => {
            let (name, keys) = head_of(refr);
            let params = args.iter().map(|arg| expr_of(arg)).collect();
            let value = Some(expr_of(value));
            Rule {
                name,
                shape: Shape::Default,
                at: at(span),
                params,
                keys,
                value,
                bodies: Vec::new(),
            }
        }
        rego::Rule::Spec { span, head, bodies } => {
            let bodies = bodies.iter().map(body_of).collect();
            let assigned = |assign: &Option<rego::RuleAssign>| {
                assign.as_ref().map(|assign| expr_of(&assign.value))
            };
            let (refr, shape, params, extra, value) = match head {
                rego::RuleHead::Compr { refr, assign, .. } => {
                    (refr, Shape::Value, Vec::new(), None, assigned(assign))
                }
                rego::RuleHead::Set { refr, key, .. } => {
                    let key = key.as_ref().map(|key| expr_of(key));
                    (refr, Shape::Set, Vec::new(), key, None)
                }
                rego::RuleHead::Func { refr, args, assign, .. } => {
                    let params = args.iter().map(|arg| expr_of(arg)).collect();
                    (refr, Shape::Function, params, None, assigned(assign))
                }
            };
            let (name, mut keys) = head_of(refr);
            let shape =
                if shape == Shape::Value && !keys.is_empty() { Shape::Object } else { shape };
            keys.extend(extra);
            Rule { name, shape, at: at(span), params, keys, value, bodies }
        }
    }
}

/// First word and keys of a rule's head.
fn head_of(refr: &rego::Expr) -> (String, Vec<Expr>) {
    match expr_of(refr) {
        Expr::Name { name, .. } => (name, Vec::new()),
        Expr::Reference { at, root, steps } => {
            let name = if let Expr::Name { name, .. } = *root { name } else { String::new() };
            let key = |step| match step {
                Step::Word(text) => Expr::Text { at, text },
                Step::Index(expr) => expr,
            };
            (name, steps.into_iter().map(key).collect())
        }
        _ => (String::new(), Vec::new()),
    }
}

fn body_of(body: &rego::RuleBody) -> Body {
    let value = body.assign.as_ref().map(|assign| expr_of(&assign.value));
    Body { value, query: query_of(&body.query) }
}

fn query_of(query: &rego::Query) -> Vec<Statement> {
    query.stmts.iter().map(statement_of).collect()
}

fn statement_of(statement: &rego::LiteralStmt) -> Statement {
    let kind = match &statement.literal {
        rego::Literal::SomeVars { vars, .. } => {
            Kind::Some(vars.iter().map(|span| span.text().to_owned()).collect())
        }
        rego::Literal::SomeIn { key, value, collection, .. } => {
            let patterns = key.iter().chain([value]).map(|expr| expr_of(expr)).collect();
            Kind::SomeIn { patterns, collection: expr_of(collection) }
        }
        rego::Literal::Expr { expr, .. } | rego::Literal::NotExpr { expr, .. } => {
            Kind::Holds(expr_of(expr))
        }
        rego::Literal::Every { key, value, domain, query, .. } => {
            let names = key.iter().chain([value]).map(|span| span.text().to_owned()).collect();
            Kind::Every { names, domain: expr_of(domain), query: query_of(query) }
        }
    };
    let with = statement.with_mods.iter().map(|with| (expr_of(&with.refr), expr_of(&with.r#as)));
    Statement { kind, with: with.collect() }
}

fn expr_of(expr: &rego::Expr) -> Expr {
    let all = |items: &[rego::Ref<rego::Expr>]| -> Vec<Expr> {
        items.iter().map(|item| expr_of(item)).collect()
    };
    match expr {
        rego::Expr::String { span, value, .. } | rego::Expr::RawString { span, value, .. } => {
            let text = value.as_string().map(|text| text.as_ref().to_owned()).unwrap_or_default();
            // The span of a string begins after its quote.
            let At { line, column } = at(span);
            Expr::Text { at: At { line, column: column.saturating_sub(1) }, text }
        }
        rego::Expr::Number { span, .. } => Expr::Number { text: span.text().to_owned() },
        rego::Expr::Bool { .. } | rego::Expr::Null { .. } => Expr::Scalar,
        rego::Expr::Var { span, .. } => Expr::Name { at: at(span), name: span.text().to_owned() },
        rego::Expr::Array { items, .. } => Expr::Array { items: all(items) },
        rego::Expr::Set { items, .. } => Expr::Many(all(items)),
        rego::Expr::Object { span, fields, .. } => {
            let fields = fields.iter().map(|(_span, key, value)| (expr_of(key), expr_of(value)));
            Expr::Object { at: at(span), fields: fields.collect() }
        }
        rego::Expr::ArrayCompr { term, query, .. } | rego::Expr::SetCompr { term, query, .. } => {
            Expr::Comprehension { terms: vec![expr_of(term)], query: query_of(query) }
        }
        rego::Expr::ObjectCompr { key, value, query, .. } => {
            let terms = vec![expr_of(key), expr_of(value)];
            Expr::Comprehension { terms, query: query_of(query) }
        }
        // A call's own span begins at its bracket.
        rego::Expr::Call { fcn, params, .. } => {
            let function = path_of(fcn).unwrap_or_default();
            Expr::Call { at: at(start_of(fcn)), function, arguments: all(params) }
        }
        rego::Expr::UnaryExpr { expr, .. } => Expr::Many(vec![expr_of(expr)]),
        rego::Expr::RefDot { .. } | rego::Expr::RefBrack { .. } => reference_of(expr),
        rego::Expr::BinExpr { lhs, rhs, .. }
        | rego::Expr::BoolExpr { lhs, rhs, .. }
        | rego::Expr::ArithExpr { lhs, rhs, .. } => Expr::Many(vec![expr_of(lhs), expr_of(rhs)]),
        rego::Expr::AssignExpr { op, lhs, rhs, .. } => {
            let declares = *op == rego::AssignOp::ColEq;
            let (pattern, value) = (Box::new(expr_of(lhs)), Box::new(expr_of(rhs)));
            Expr::Assign { declares, pattern, value }
        }
        rego::Expr::Membership { key, value, collection, .. } => {
            let parts = key.iter().chain([value, collection]);
            Expr::Many(parts.map(|part| expr_of(part)).collect())
        }
    }
}

/// Unwinds a chain of dots and brackets without recursing along it.
fn reference_of(expr: &rego::Expr) -> Expr {
    let (mut steps, mut rest) = (Vec::new(), expr);
    loop {
        match rest {
            rego::Expr::RefDot { refr, field, .. } => {
                steps.push(Step::Word(field.0.text().to_owned()));
                rest = refr;
            }
            rego::Expr::RefBrack { refr, index, .. } => {
                steps.push(match expr_of(index) {
                    Expr::Text { text, .. } => Step::Word(text),
                    other => Step::Index(other),
                });
                rest = refr;
            }
            _ => break,
        }
    }
    steps.reverse();
    Expr::Reference { at: at(rest.span()), root: Box::new(expr_of(rest)), steps }
}

fn start_of(expr: &rego::Expr) -> &rego::Span {
    let mut rest = expr;
    while let rego::Expr::RefDot { refr, .. } | rego::Expr::RefBrack { refr, .. } = rest {
        rest = refr;
    }
    rest.span()
}

/// The words of a reference that has only constant steps.
fn path_of(expr: &rego::Expr) -> Option<Vec<String>> {
    match expr_of(expr) {
        Expr::Name { name, .. } => Some(vec![name]),
        Expr::Reference { root, steps, .. } => {
            let Expr::Name { name, .. } = *root else { return None };
            let words = steps.into_iter().map(|step| match step {
                Step::Word(word) => Some(word),
                Step::Index(_) => None,
            });
            std::iter::once(Some(name)).chain(words).collect()
        }
        _ => None,
    }
}

const fn at(span: &rego::Span) -> At {
    At { line: span.line, column: span.col }
}
