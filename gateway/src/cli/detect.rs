//! `detect scan | rules | explain | test`: the scanner of the gateway on files and lines.
//!
//! Findings and shapes are those of contract §1 and §4. The key of the digests is drawn for each
//! run, so digests of one run can be compared with each other and with nothing else.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use forge_detectors::{DigestKey, Rule, Scanner};
use forge_schemas::finding::Finding;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ids;

/// What to do with the scanner.
#[derive(Debug, Args)]
pub struct DetectArgs {
    #[command(subcommand)]
    command: DetectCommand,
}

#[derive(Debug, Subcommand)]
enum DetectCommand {
    /// Look for secrets and personal data in files or stdin
    Scan(ScanArgs),
    /// List the rules
    Rules {
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Say what a rule looks for, with a made-up example
    Explain {
        /// Rule id, for instance github-pat
        rule: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Prove that every rule still finds its own example
    Test,
}

#[derive(Debug, Args)]
struct ScanArgs {
    /// Read lines {"id":…,"text":"…"} or {"id":…,"json":…} and answer each with one line
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// One JSON object for each file instead of lines for people
    #[arg(long)]
    json: bool,
    /// Exit with 3 if anything is found
    #[arg(long)]
    fail: bool,
    /// Files; stdin if there are none
    files: Vec<PathBuf>,
}

/// One line of `--jsonl`.
#[derive(Debug, Deserialize)]
struct Question {
    #[serde(default)]
    id: Value,
    text: Option<Box<RawValue>>,
    json: Option<Box<RawValue>>,
}

/// The answer to it.
#[derive(Debug, Serialize)]
struct Answer {
    id: Value,
    findings: Vec<Finding>,
    /// `null` if the line cannot be examined or redacted; `error` says why.
    redacted: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    /// Stable: `bytes`, `depth`, `layers`, `decoded`, `work`, `findings`, `json`, `utf8`, `key`,
    /// `pointer`, `span`, `document`, `line`.
    code: &'static str,
    message: String,
}

/// Runs the command to its exit code.
///
/// # Errors
/// If input cannot be read, output cannot be written, or a rule of that name is not there.
pub fn run(args: DetectArgs, stdin: impl BufRead, mut stdout: impl Write) -> anyhow::Result<u8> {
    let scanner = Scanner::builtin(DigestKey::new(&ids::random()?))?;
    let code = match args.command {
        DetectCommand::Scan(args) if args.jsonl => lines(&scanner, &args, stdin, &mut stdout)?,
        DetectCommand::Scan(args) => files(&scanner, &args, stdin, &mut stdout)?,
        DetectCommand::Rules { json } => rules(&scanner, json, &mut stdout)?,
        DetectCommand::Explain { rule, json } => explain(&scanner, &rule, json, &mut stdout)?,
        DetectCommand::Test => test(&scanner, &mut stdout)?,
    };
    stdout.flush()?;
    Ok(code)
}

fn lines(
    scanner: &Scanner,
    args: &ScanArgs,
    stdin: impl BufRead,
    stdout: &mut impl Write,
) -> anyhow::Result<u8> {
    let mut found = false;
    let mut answer_all = |input: &mut dyn BufRead| -> anyhow::Result<()> {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).context("cannot read a line")? > 0 {
            if !line.trim_ascii().is_empty() {
                let answer = answer(scanner, &line);
                found |= !answer.findings.is_empty();
                serde_json::to_writer(&mut *stdout, &answer)?;
                writeln!(stdout)?;
            }
            line.clear();
        }
        Ok(())
    };
    if args.files.is_empty() {
        answer_all(&mut { stdin })?;
    }
    for path in &args.files {
        let file = std::fs::File::open(path).with_context(|| cannot_read(path))?;
        answer_all(&mut std::io::BufReader::new(file))?;
    }
    Ok(if found && args.fail { 3 } else { 0 })
}

fn answer(scanner: &Scanner, line: &[u8]) -> Answer {
    let refused = |id, code, message: String| Answer {
        id,
        findings: Vec::new(),
        redacted: None,
        error: Some(Fault { code, message }),
    };
    let question: Question = match serde_json::from_slice(line) {
        Ok(question) => question,
        Err(error) => return refused(Value::Null, "line", error.to_string()),
    };
    let (raw, text) = match (&question.text, &question.json) {
        (Some(raw), None) => (raw.get(), serde_json::from_str::<String>(raw.get()).ok()),
        (None, Some(raw)) => (raw.get(), None),
        _ => return refused(question.id, "line", "text or json, one of the two".to_owned()),
    };
    // A text with lone surrogates is no string of ours: it is examined as the JSON string it is.
    let scanned = match &text {
        Some(text) => scanner.scan_text(text),
        None => scanner.scan_json(raw.as_bytes(), ""),
    };
    let findings = match scanned {
        Ok(findings) => findings,
        Err(error) => return refused(question.id, error.code(), error.to_string()),
    };
    let redacted = match &text {
        Some(text) => Ok(Value::String(scanner.redact_text(text, &findings)).to_string()),
        None => scanner
            .redact_json(raw.as_bytes(), "", &findings)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    };
    let (redacted, error) = match redacted {
        Ok(redacted) => (RawValue::from_string(redacted).ok(), None),
        Err(error) => (None, Some(Fault { code: error.code(), message: error.to_string() })),
    };
    Answer { id: question.id, findings, redacted, error }
}

fn files(
    scanner: &Scanner,
    args: &ScanArgs,
    mut stdin: impl BufRead,
    stdout: &mut impl Write,
) -> anyhow::Result<u8> {
    let mut found = false;
    if args.files.is_empty() {
        let mut bytes = Vec::new();
        stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
        found |= file(scanner, args, Path::new("-"), &bytes, stdout)?;
    }
    for path in &args.files {
        let bytes = std::fs::read(path).with_context(|| cannot_read(path))?;
        found |= file(scanner, args, path, &bytes, stdout)?;
    }
    Ok(if found && args.fail { 3 } else { 0 })
}

/// Examines one file and says whether anything was found in it.
fn file(
    scanner: &Scanner,
    args: &ScanArgs,
    path: &Path,
    bytes: &[u8],
    stdout: &mut impl Write,
) -> anyhow::Result<bool> {
    let name = path.display();
    let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8"))?;
    let findings = scanner.scan_text(text).with_context(|| format!("{name} cannot be examined"))?;
    if args.json {
        let line = json!({ "file": name.to_string(), "findings": findings });
        writeln!(stdout, "{line}")?;
        return Ok(!findings.is_empty());
    }
    for finding in &findings {
        let (line, column) = position(text, finding.start);
        let Finding { rule, entity, .. } = finding;
        let confidence = word(&finding.confidence);
        write!(stdout, "{name}:{line}:{column}: {rule} {entity} {confidence}")?;
        if !finding.decoded.is_empty() {
            write!(stdout, " in {}", finding.decoded.join(", "))?;
        }
        writeln!(stdout)?;
    }
    Ok(!findings.is_empty())
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// Line and column of a byte, both from 1; the column counts bytes.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
    let start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    (line, at.saturating_sub(start).saturating_add(1))
}

/// How a value of a closed set is spelled in JSON.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn rules(scanner: &Scanner, json: bool, stdout: &mut impl Write) -> anyhow::Result<u8> {
    if json {
        let all: Vec<_> = scanner.rules().map(Rule::describe).collect();
        writeln!(stdout, "{}", serde_json::to_string(&all)?)?;
        return Ok(0);
    }
    for rule in scanner.rules() {
        let (severity, confidence) = (word(&rule.severity()), word(&rule.confidence()));
        let (id, title) = (rule.id(), rule.title());
        writeln!(stdout, "{id:<36} {severity:<9} {confidence:<11} {title}")?;
    }
    Ok(0)
}

fn explain(scanner: &Scanner, id: &str, json: bool, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let rule = scanner.rules().find(|rule| rule.id() == id);
    let rule = rule.with_context(|| format!("there is no rule {id}; see detect rules"))?;
    let example = rule.example(0).text;
    if json {
        let mut whole = serde_json::to_value(rule.describe())?;
        if let Some(members) = whole.as_object_mut() {
            members.insert("example".to_owned(), example.into());
        }
        writeln!(stdout, "{whole}")?;
        return Ok(0);
    }
    writeln!(stdout, "{}: {}", rule.id(), rule.title())?;
    writeln!(stdout, "entity      {} ({})", rule.entity(), word(&rule.kind()))?;
    writeln!(stdout, "severity    {}", word(&rule.severity()))?;
    let checked =
        if rule.check().is_some() { ", its checksum or structure is checked" } else { "" };
    writeln!(stdout, "confidence  up to {}{checked}", word(&rule.confidence()))?;
    if !rule.literals().is_empty() {
        writeln!(stdout, "looks for   {}", rule.literals().join("  "))?;
    }
    writeln!(stdout, "format      {}", rule.page())?;
    writeln!(stdout, "made up     {}", example.replace('\n', "\n            "))?;
    Ok(0)
}

fn test(scanner: &Scanner, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let mut failed = 0_usize;
    for rule in scanner.rules() {
        let example = rule.example(0);
        let findings = scanner.scan_text(&example.text)?;
        if !findings.iter().any(|finding| finding.rule == rule.id()) {
            failed = failed.saturating_add(1);
            writeln!(stdout, "{} does not find its example", rule.id())?;
        }
    }
    let passed = scanner.rules().count().saturating_sub(failed);
    writeln!(stdout, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { 0 } else { 3 })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: DetectArgs,
    }

    fn ran(words: &[&str], stdin: &str) -> (u8, String) {
        let line = Line::try_parse_from(["detect"].iter().chain(words)).unwrap();
        let mut out = Vec::new();
        let code = run(line.args, stdin.as_bytes(), &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_line_is_answered_by_one_line_in_the_same_order() {
        let stdin = concat!(
            r#"{"id":1,"text":"to jo@example.org"}"#,
            "\n\n",
            r#"{"id":"b","json":{"card": 4111111111111111 }}"#,
            "\n",
            r#"{"id":null,"json":{"jo@example.org":1}}"#,
            "\n",
            "{\n",
            r#"{"id":5,"text":"\ud800 nothing"}"#,
            "\n",
        );
        let (code, out) = ran(&["scan", "--jsonl"], stdin);
        assert_eq!(code, 0);
        let (rest, last) = out.trim_end().rsplit_once('\n').unwrap();
        let lines: Vec<Value> = rest.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4, "{out}");
        assert_eq!(lines[0]["id"], 1);
        assert_eq!(lines[0]["redacted"], "to [REDACTED:EMAIL_ADDRESS]");
        assert_eq!(
            (&lines[0]["findings"][0]["start"], &lines[0]["findings"][0]["end"]),
            (&3.into(), &17.into())
        );
        assert_eq!(lines[1]["findings"][0]["pointer"], "/card");
        assert!(out.contains(r#""redacted":{"card": 0 }}"#), "{out}");
        assert_eq!(
            (&lines[2]["redacted"], &lines[2]["error"]["code"]),
            (&Value::Null, &"key".into())
        );
        assert_eq!(lines[3]["error"]["code"], "line");
        // A lone surrogate is no character, but it is JSON, and it comes back as it came.
        assert_eq!(last, r#"{"id":5,"findings":[],"redacted":"\ud800 nothing"}"#);
    }

    #[test]
    fn findings_of_stdin_have_line_and_column() {
        let (code, out) = ran(&["scan", "--fail"], "a\nb jo@example.org\n");
        assert_eq!((code, out.as_str()), (3, "-:2:3: email-address EMAIL_ADDRESS structural\n"));
        let (code, out) = ran(&["scan", "--json"], "nothing here");
        assert_eq!((code, out.as_str()), (0, "{\"file\":\"-\",\"findings\":[]}\n"));
    }

    #[test]
    fn rules_are_listed_explained_and_proven() {
        let (_, out) = ran(&["rules", "--json"], "");
        let rules: Value = serde_json::from_str(&out).unwrap();
        assert!(rules.as_array().unwrap().iter().any(|rule| rule["id"] == "github-pat"));
        assert!(ran(&["explain", "github-pat"], "").1.contains("GITHUB_TOKEN"));
        assert!(ran(&["test"], "").1.ends_with(" 0 failed\n"));
    }
}
