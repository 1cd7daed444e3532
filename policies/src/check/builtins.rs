//! Which builtins a policy may call. A list of what is allowed, not of what is not: a new version
//! of the library brings no new function into a policy by itself.

use super::{Fault, code};
use crate::check::names::Symbols;
use crate::layout::{Place, place};
use crate::syntax::{At, Expr, Module};

/// Pure, deterministic, and bounded by the size of their arguments.
const ALLOWED: &[&str] = &[
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "base64url.decode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "glob.quote_meta",
    "graph.reachable",
    "hex.decode",
    "hex.encode",
    "indexof",
    "indexof_n",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.remove",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "net.cidr_contains",
    "net.cidr_is_valid",
    "numbers.range",
    "numbers.range_step",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "object.union_n",
    "product",
    "regex.find_n",
    "regex.is_valid",
    "regex.match",
    "regex.replace",
    "regex.split",
    "regex.template_match",
    "replace",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.replace_n",
    "strings.reverse",
    "substring",
    "sum",
    "to_number",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "units.parse",
    "units.parse_bytes",
    "upper",
    "urlquery.decode",
    "urlquery.decode_object",
    "urlquery.encode",
    "urlquery.encode_object",
    "walk",
];

/// Known and refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("http.send", "a decision may not depend on the network"),
    ("net.lookup_ip_addr", "a decision may not depend on the network"),
    ("opa.runtime", "a decision may not depend on the process"),
    ("rand.intn", "a decision has to be the same each time it is made"),
    ("uuid.rfc4122", "a decision has to be the same each time it is made"),
    ("uuid.parse", "uuid builtins are not available"),
    ("time.now_ns", "policies have no clock; read input.context.time"),
    ("net.cidr_expand", "it can fill the memory; use net.cidr_contains"),
    ("bits.lsh", "it can fill the memory"),
    ("test.sleep", "it stops the process"),
    ("trace", "it has no use in a policy"),
    ("io.jwt.decode_verify", "tokens are verified before policy; read input.subject"),
    ("io.jwt.verify_rs256", "tokens are verified before policy; read input.subject"),
    ("io.jwt.decode", "tokens are verified before policy; read input.subject"),
];

/// Largest number of values that `numbers.range` may make.
const RANGE_MAX: i64 = 10_000;
/// Largest width or precision in a format.
const WIDTH_MAX: u32 = 64;

/// Builtins that are refused, do not exist, or are called in a way that is dangerous.
pub(super) fn check(module: &Module, symbols: &Symbols<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_test = place(&module.package) == Place::Test;
    for rule in &module.rules {
        rule.each(&mut |expr| {
            let Expr::Call { at, function, arguments } = expr else { return };
            let name = function.join(".");
            let found = match symbols.called(module, function) {
                Some(path) if symbols.reached(&path).is_empty() => {
                    Some((code::FUNCTION, format!("there is no function {name}")))
                }
                Some(_) => None,
                None if is_test && name == "print" => None,
                None => called(&name, arguments),
            };
            if let Some((code, sentence)) = found {
                faults.push(Fault::at(&module.file, At { ..*at }, code, sentence));
            }
        });
    }
    faults
}

fn called(name: &str, arguments: &[Expr]) -> Option<(&'static str, String)> {
    if let Some((_name, reason)) = REFUSED.iter().find(|(refused, _reason)| *refused == name) {
        return Some((code::BUILTIN, format!("{name} is not allowed: {reason}")));
    }
    if name == "print" {
        return Some((code::BUILTIN, "print is for tests".to_owned()));
    }
    if !ALLOWED.contains(&name) {
        return Some((code::FUNCTION, format!("there is no function {name}")));
    }
    match name {
        "sprintf" => format(arguments),
        "numbers.range" | "numbers.range_step" => range(name, arguments),
        "strings.count" => {
            let fine = arguments.get(1).and_then(Expr::text).is_some_and(|text| !text.is_empty());
            (!fine).then(|| {
                let sentence = "strings.count needs a text that is written out and not empty";
                (code::BUILTIN, sentence.to_owned())
            })
        }
        _ => None,
    }
}

fn range(name: &str, arguments: &[Expr]) -> Option<(&'static str, String)> {
    let bound = |index: usize| match arguments.get(index) {
        Some(Expr::Number { text }) => text.parse::<i64>().ok(),
        _ => None,
    };
    let fine = match (bound(0), bound(1)) {
        (Some(first), Some(last)) => {
            last.checked_sub(first).is_some_and(|distance| distance.abs() <= RANGE_MAX)
        }
        _ => false,
    };
    let sentence =
        format!("the bounds of {name} have to be written out and at most {RANGE_MAX} apart");
    (!fine).then_some((code::BUILTIN, sentence))
}

/// A format is a literal, has no wide fields, and fits the number of values.
fn format(arguments: &[Expr]) -> Option<(&'static str, String)> {
    let refuse = |sentence: String| Some((code::FORMAT, sentence));
    let Some(text) = arguments.first().and_then(Expr::text) else {
        return refuse("the format of sprintf has to be written out".to_owned());
    };
    let verbs = match verbs(text) {
        Ok(verbs) => verbs,
        Err(sentence) => return refuse(sentence),
    };
    match arguments.get(1) {
        Some(Expr::Array { items }) if items.len() != verbs => {
            refuse(format!("the format has {verbs} verbs and there are {} values", items.len()))
        }
        _ => None,
    }
}

fn verbs(text: &str) -> Result<usize, String> {
    let (mut letters, mut verbs) = (text.chars().peekable(), 0_usize);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        let mut number = 0_u32;
        loop {
            match letters.next() {
                Some('%') => break,
                Some('.' | '-' | '+' | '#' | ' ') => number = 0,
                Some(digit) if digit.is_ascii_digit() => {
                    let value = digit.to_digit(10).unwrap_or(0);
                    number = number.saturating_mul(10).saturating_add(value);
                    if number > WIDTH_MAX {
                        return Err(format!("a field of the format is wider than {WIDTH_MAX}"));
                    }
                }
                Some(
                    's' | 'd' | 'v' | 'f' | 'x' | 'X' | 'b' | 'o' | 'e' | 'E' | 'g' | 'G' | 't'
                    | 'q',
                ) => {
                    verbs = verbs.saturating_add(1);
                    break;
                }
                Some(other) => return Err(format!("%{other} is not a verb of sprintf")),
                None => return Err("the format ends in %".to_owned()),
            }
        }
    }
    Ok(verbs)
}
