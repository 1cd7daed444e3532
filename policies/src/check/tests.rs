//! Faults: each with its code and its place, all of them at once, and quickly.

use serde_json::json;

use super::{CheckResponse, Fault, check, check_json};
use crate::tests::{bundle, sources};

fn faults(files: &[(&str, &str)]) -> Vec<Fault> {
    check(&bundle(files)).err().unwrap_or_default()
}

/// Codes with line and column, for one file of package `forge.org.request`.
fn of(rules: &str) -> Vec<(String, u32, u32)> {
    let text = format!("package forge.org.request\n{rules}\n");
    let place = |fault: Fault| (fault.code.replacen("policy.", "", 1), fault.line, fault.column);
    faults(&[("a.rego", &text)]).into_iter().map(place).collect()
}

#[test]
fn each_fault_has_its_code_and_its_place() {
    let cases: &[(&str, &str, u32, u32)] = &[
        ("allow if {", "syntax", 3, 1),
        ("allow {\n true\n}", "syntax", 2, 7),
        ("x := http.send({})", "forbidden_builtin", 2, 6),
        ("x := opa.runtime()", "forbidden_builtin", 2, 6),
        ("x := rand.intn(\"a\", 3)", "forbidden_builtin", 2, 6),
        ("x := uuid.rfc4122(\"a\")", "forbidden_builtin", 2, 6),
        ("x := time.now_ns()", "forbidden_builtin", 2, 6),
        ("x := net.lookup_ip_addr(\"a\")", "forbidden_builtin", 2, 6),
        ("x := net.cidr_expand(\"10.0.0.0/8\")", "forbidden_builtin", 2, 6),
        ("x := bits.lsh(1, 4000000000)", "forbidden_builtin", 2, 6),
        ("x := trace(\"a\")", "forbidden_builtin", 2, 6),
        ("x if print(\"a\")", "forbidden_builtin", 2, 6),
        ("x := numbers.range(1, 20000000)", "forbidden_builtin", 2, 6),
        ("x := numbers.range(1, input.v)", "forbidden_builtin", 2, 6),
        ("x := strings.count(\"a\", \"\")", "forbidden_builtin", 2, 6),
        ("x := sprintf(\"%.999999999f\", [1])", "format", 2, 6),
        ("x := sprintf(\"%999999999d\", [1])", "format", 2, 6),
        ("x := sprintf(\"%*d\", [1, 2])", "format", 2, 6),
        ("x := sprintf(\"%d %d\", [1])", "format", 2, 6),
        ("x := sprintf(\"%d\", [1, 2])", "format", 2, 6),
        ("x := sprintf(input.phase, [1])", "format", 2, 6),
        ("x := startwith(\"a\", \"b\")", "unknown_function", 2, 6),
        ("x := io.jwt.nothing(\"a\")", "unknown_function", 2, 6),
        ("f(x) := f(x + 1)", "recursion", 2, 1),
        ("f(x) := g(x)\ng(x) := f(x)", "recursion", 2, 1),
        ("a if b\nb if a", "recursion", 2, 1),
        ("a if data.forge.org.request.a", "recursion", 2, 1),
        ("a if data.forge.org.request", "recursion", 2, 1),
        ("a if {\n x := \"allow\"\n data.forge.org[x]\n}", "recursion", 2, 1),
        ("deny contains {\"id\": \"x\"} if count(deny) > 0", "recursion", 2, 1),
        ("a if data.forge.org.requests.b", "unknown_reference", 2, 6),
        ("a if some x in data", "unknown_reference", 2, 16),
        ("a if input.contxt.agent == \"x\"", "unknown_input", 2, 6),
        ("a if input.context.agent.name == \"x\"", "unknown_input", 2, 6),
        ("a if input.context.findings.rule == \"x\"", "unknown_input", 2, 6),
        ("a if input.context.findings[_].rul == \"x\"", "unknown_input", 2, 6),
        ("a if input.subject[\"roles\"]", "unknown_input", 2, 6),
        ("a if input.result.contents", "unknown_input", 2, 6),
        ("deny contains {\"msg\": \"x\"}", "item_without_id", 2, 15),
        ("deny contains \"x\"", "item_without_id", 2, 15),
        ("deny contains x if x := {\"msg\": \"y\"}", "item_without_id", 2, 25),
        ("deny contains {\"id\": \"x\", \"message\": \"y\"}", "item", 2, 15),
        ("approval contains {\"id\": \"x\"}", "item", 2, 19),
        ("deny if true", "entry", 2, 1),
        ("deny := {{\"id\": \"x\"}}", "entry", 2, 1),
        ("allow contains \"x\"", "entry", 2, 1),
        ("grants contains \"a/b\"", "entry", 2, 1),
        ("a if input.v == 1 with input as {}", "entry", 2, 1),
        ("a if typo == 1", "unsafe_variable", 2, 6),
        ("deny contains msg if input.v == 1", "unsafe_variable", 2, 15),
        ("import data.forge.lib.nothing\na if nothing.x", "unknown_reference", 2, 1),
        ("import input.contxt\na if contxt", "unknown_input", 2, 1),
    ];
    for (rules, code, line, column) in cases {
        let found = of(rules);
        let wanted = ((*code).to_owned(), *line, *column);
        assert!(found.contains(&wanted), "{rules}\nwanted {wanted:?}\nfound {found:?}");
    }
}

#[test]
fn what_is_right_has_no_fault() {
    let cases = [
        "allow if input.resource.properties.arguments.a.b[0].c == 1",
        "allow if input.subject.properties.act.sub == \"x\"",
        "allow if input.context.approval.anything",
        "allow if input.result.content[0].text == \"x\"",
        "allow if input.context.findings[_].rule == \"x\"",
        "allow if { some i; input.context.findings[i].kind == \"pii\" }",
        "allow if { some key, value in input.resource.properties.arguments; key == value }",
        "allow if { every x in input.context.findings { x.kind != \"pii\" } }",
        "allow if { [a, b] = [1, 2]; a < b }",
        "allow if { x := {y | some y in [1, 2]; y > 1}; count(x) == 1 }",
        "allow if { {\"a\": z} = {\"a\": 1}; z == 1 }",
        "allow if walk(input.resource.properties.arguments, [_, 3])",
        "allow if not helper(3)\nhelper(x) if x > 3\nhelper(x) := true if x == 1\nelse := false",
        "allow if { f := 1; f == 1 }\nf(x) := x",
        "deny contains {\"id\": \"x\", \"msg\": sprintf(\"100%% %s %v %5.2f\", [\"a\", 1, 2])}",
        "deny contains item if { some id in [\"a\"]; item := {\"id\": id} }",
        "allow if numbers.range(1, 10)[_] == 3",
        "allow if strings.count(\"aXbX\", \"X\") == 2",
        "labels[key] := 1 if key := \"a\"",
        "labels.fixed := 1",
        "labels := {\"a\": 1}",
        "default allow := false",
        "allow if regex.match(`[[[[[[[[[[[[[a]`, \"x\") # ((((((((((((",
        "x := \"((((((((((((((\\\"[[[[[[[[[[[[[\"\nallow if x",
    ];
    for rules in cases {
        let text = format!("package forge.org.request\n{rules}\n");
        assert_eq!(faults(&[("a.rego", &text)]), vec![], "{rules}");
    }
}

#[test]
fn all_faults_of_all_files_come_at_once() {
    let found = faults(&[
        ("a.rego", "package forge.org.request\nallow if typo\nx := time.now_ns()\n"),
        ("b.rego", "package forge.org.requests\nallow := true\n"),
        ("c.rego", "package forge.tools.demo.request\nallow := true\n"),
        ("c_test.rego", "package forge.org.x\ntest_a if true\n"),
        ("d.rego", "package forge.host\nanswer := 1\n"),
        ("data.json", "{\"a\": 1, \"a\": 2}"),
    ]);
    let codes: Vec<(&str, &str)> =
        found.iter().map(|fault| (fault.file.as_str(), fault.code.as_str())).collect();
    assert_eq!(
        codes,
        [
            ("a.rego", "policy.unsafe_variable"),
            ("a.rego", "policy.forbidden_builtin"),
            ("b.rego", "policy.package"),
            ("c.rego", "policy.package"),
            ("c_test.rego", "policy.test_package"),
            ("d.rego", "policy.package"),
            ("data.json", "policy.data"),
        ]
    );
}

#[test]
fn two_files_that_do_not_parse_are_both_named() {
    let found = faults(&[("a.rego", "package a\nx :="), ("b.rego", "nothing")]);
    let files: Vec<&str> = found.iter().map(|fault| fault.file.as_str()).collect();
    assert_eq!(files, ["a.rego", "b.rego"]);
}

#[test]
fn deep_brackets_are_refused_before_the_parser_sees_them() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("{", "}")] {
        let deep = format!("x := {}1{}", open.repeat(20), close.repeat(20));
        let found = of(&deep);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), ("too_deep", 2));
    }
    // Hidden behind strings, comments and raw strings.
    let hidden =
        format!("x := \"\\\\\" # \"\ny := `\\` \nz := {}1{}", "[".repeat(11), "]".repeat(11));
    assert_eq!(
        of(&hidden).first().map(|fault| (fault.0.clone(), fault.1)),
        Some(("too_deep".into(), 4))
    );
}

#[test]
fn sizes_have_limits() {
    let long_line = format!("# {}", "x".repeat(2000));
    assert_eq!(of(&long_line), [("too_large".into(), 2, 1)]);
    let many_lines = "\n".repeat(30_000);
    assert_eq!(of(&many_lines)[0].0, "too_large");
    let large = "# x\n".repeat(300_000);
    assert_eq!(of(&large)[0].0, "too_large");
    let files: Vec<(String, String)> =
        (0..600).map(|number| (format!("f{number}.rego"), "package a".to_owned())).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(faults(&files)[0].code, "policy.too_large");
}

#[test]
fn a_long_chain_of_rules_is_refused_before_it_overflows_a_stack() {
    let mut chain = String::from("f0(x) := x\n");
    for number in 1..5000 {
        chain.push_str(&format!("f{number}(x) := f{}(x)\n", number - 1));
    }
    assert_eq!(of(&chain).first().map(|fault| fault.0.as_str()), Some("call_depth"));
}

#[test]
fn helpers_and_data_are_found_across_files() {
    let files = [
        (
            "lib.rego",
            "package forge.lib.people\nimport data.known\nteam(name) if name in known.teams\n",
        ),
        ("known/data.json", "{\"teams\": [\"a\"]}"),
        (
            "a.rego",
            "package forge.org.request\nimport data.forge.lib.people as p\nallow if p.team(\"a\")\n",
        ),
    ];
    check(&bundle(&files)).unwrap();
    let set = crate::tests::load(&files);
    assert!(set.decide(&crate::tests::input(&json!({})), "ev_1".into()).decision);
}

#[test]
fn warnings_do_not_refuse() {
    let rego = "package forge.org.request\nallow := true\ndeny contains {\"id\": \"x\"} if input.v == 2\ndeny contains {\"id\": \"x\"} if input.v == 3\n";
    let report = check(&bundle(&[("a.rego", rego), ("b.rego", "package mine\nx := 1\n")])).unwrap();
    let codes: Vec<&str> = report.warnings.iter().map(|fault| fault.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "policy.phase_closed",
            "policy.phase_closed",
            "policy.phase_closed",
            "policy.duplicate_id",
            "policy.foreign_package",
        ]
    );
}

#[test]
fn the_checker_speaks_json() {
    let ask = |files: &[(&str, &str)]| -> CheckResponse {
        let request = json!({"sources": sources(files)}).to_string();
        serde_json::from_slice(&check_json(request.as_bytes())).unwrap()
    };
    let good = ask(&[("a.rego", "package forge.org.request\nallow := true\n")]);
    assert!(matches!(good, CheckResponse::Report(report) if report.rules == 1));
    let bad = ask(&[("a.rego", "package forge.org.request\nallow := typo\n")]);
    assert!(
        matches!(bad, CheckResponse::Faults(faults) if faults[0].code == "policy.unsafe_variable")
    );
    let nothing: CheckResponse = serde_json::from_slice(&check_json(b"{")).unwrap();
    assert!(matches!(nothing, CheckResponse::Faults(faults) if faults[0].code == "policy.load"));
}

#[test]
fn bundles_take_rego_data_and_a_manifest_and_nothing_else() {
    let revision = |files: &[(&str, &str)]| {
        crate::Bundle::new(sources(files))
            .map(|bundle| bundle.revision().to_owned())
            .map_err(|error| error.to_string())
    };
    let rego = ("a.rego", "package a");
    assert!(revision(&[rego]).unwrap().starts_with("local@"));
    let named = revision(&[rego, (".manifest", "{\"revision\": \"v7\", \"roots\": [\"\"]}")]);
    assert!(named.unwrap().starts_with("v7@"));
    assert_ne!(revision(&[rego]), revision(&[("a.rego", "package b")]));
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("data.json", "{}")],
        &[rego, rego],
        &[("/a.rego", "")],
        &[("x/../a.rego", "")],
        &[("x\\a.rego", "")],
        &[rego, ("data.yaml", "")],
        &[rego, ("README.md", "")],
        &[rego, (".manifest", "{\"rego_version\": 0}")],
        &[rego, (".manifest", "{\"surprise\": 0}")],
        &[rego, (".manifest", "{\"revision\": \"a b\"}")],
    ];
    for files in cases {
        assert!(revision(files).is_err(), "{files:?}");
    }
}
