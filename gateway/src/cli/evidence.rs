//! `forge-gateway evidence export | verify`.
//!
//! `export` reads the evidence path itself, so it works while a gateway runs and when none does;
//! `verify` reads a pack and the auditor's keys, and nothing else. Neither opens a socket.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use forge_evidence::note::TrustedKey;
use forge_evidence::verify::{Auditor, verify};
use forge_schemas::ids::Tenant;
use forge_schemas::verdict::Verdict;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ConfigArg, load_config};
use crate::clock;
use crate::journal::{Export, Wanted, tenants};
use crate::keys::LocalKeys;

/// Export evidence and verify it.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a signed pack of one tenant's records
    Export(ExportArgs),
    /// Verify a pack offline; exits with 3 if anything is wrong
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Where to write the pack; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Whose log; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// First record number
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Last record number
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// From the first record at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "from", value_parser = time_ms)]
    since: Option<i64>,
    /// To the last record at or before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "to", value_parser = time_ms)]
    until: Option<i64>,
    /// The summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
    /// Evidence folder, instead of the configuration's
    #[arg(long, value_name = "DIR", requires = "keys")]
    evidence: Option<PathBuf>,
    /// Folder of the keys, instead of the configuration's
    #[arg(long, value_name = "DIR", requires = "evidence")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The pack; `-` for standard input
    pack: PathBuf,
    /// A file with public keys (PEM or verifier key lines), from elsewhere than the pack
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// A checkpoint of this log that was seen before: the log must continue it
    #[arg(long = "seen", value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// The verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If something cannot be read or written. A pack that does not verify is not an error but 3.
pub fn run(args: EvidenceArgs, stdout: &mut impl Write) -> anyhow::Result<u8> {
    match args.command {
        Command::Export(args) => run_export(&args, stdout),
        Command::Verify(args) => run_verify(&args, stdout),
    }
}

/// Where evidence and the checkpoint key lie: as the arguments say, else by the configuration.
fn places(args: &ExportArgs) -> anyhow::Result<(PathBuf, PathBuf)> {
    if let (Some(evidence), Some(keys)) = (&args.evidence, &args.keys) {
        return Ok((evidence.clone(), keys.join("evidence.pem")));
    }
    let evidence = load_config(&args.config)?.evidence;
    Ok((evidence.path, evidence.signing_key))
}

fn run_export(args: &ExportArgs, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let (evidence, signing_key) = places(args)?;
    if !signing_key.is_file() {
        bail!("there is no key {}", signing_key.display());
    }
    let keys = LocalKeys::load_or_create(&signing_key)?;
    let tenant = pick_tenant(args.tenant.as_deref(), &evidence)?;
    let (signer, log_key) = (keys.pack(), keys.checkpoint().public());
    let export = Export {
        dir: &evidence,
        tenant: &tenant,
        wanted: Wanted { from: args.from, to: args.to, since_ms: args.since, until_ms: args.until },
        signer: &*signer,
        keys: vec![
            ("checkpoint.pub.pem".to_owned(), log_key.pem()),
            ("pack.pub.pem".to_owned(), signer.public().pem()),
        ],
        now_ms: clock::system().now_ms(),
    };
    let file = File::create_new(&args.out)
        .with_context(|| format!("could not create {}", args.out.display()))?;
    let written = export.write(BufWriter::new(&file)).map_err(anyhow::Error::from);
    let summary = match written.and_then(|summary| {
        file.sync_all().context("could not sync the pack")?;
        Ok(summary)
    }) {
        Ok(summary) => summary,
        Err(error) => {
            // Half a pack would only puzzle whoever finds it.
            drop(std::fs::remove_file(&args.out));
            return Err(error);
        }
    };
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&summary)?)?;
    } else {
        let count = summary.end.saturating_sub(summary.first);
        writeln!(
            stdout,
            "{count} records of {} ({} to {}) are in {}",
            summary.log,
            summary.first,
            summary.end.saturating_sub(1),
            args.out.display()
        )?;
    }
    Ok(0)
}

fn pick_tenant(name: Option<&str>, dir: &Path) -> anyhow::Result<Tenant> {
    if let Some(name) = name {
        return Ok(Tenant::parse(name)?);
    }
    let found = tenants(dir).with_context(|| format!("no evidence in {}", dir.display()))?;
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("there is no evidence in {}", dir.display()),
        more => {
            let names: Vec<&str> = more.iter().map(Tenant::as_str).collect();
            bail!("say whose with --tenant: {}", names.join(", "))
        }
    }
}

fn run_verify(args: &VerifyArgs, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let mut auditor = Auditor::default();
    for path in &args.keys {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        let keys = TrustedKey::parse_all(&text);
        auditor.keys.extend(keys.with_context(|| format!("no keys in {}", path.display()))?);
    }
    for path in &args.seen {
        let bytes = std::fs::read(path);
        auditor.seen.push(bytes.with_context(|| format!("could not read {}", path.display()))?);
    }
    let mut pack: Box<dyn Read> = if args.pack.as_os_str() == "-" {
        Box::new(stdin().lock())
    } else {
        let file = File::open(&args.pack)
            .with_context(|| format!("could not open {}", args.pack.display()))?;
        Box::new(BufReader::new(file))
    };
    let verdict = verify(&mut pack, &auditor);
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&verdict)?)?;
    } else {
        print(&verdict, auditor.keys.is_empty(), stdout)?;
    }
    Ok(if verdict.ok { 0 } else { 3 })
}

fn print(verdict: &Verdict, without_keys: bool, stdout: &mut impl Write) -> std::io::Result<()> {
    if let Some(range) = &verdict.range {
        let last = range.end.saturating_sub(1);
        writeln!(stdout, "log       {} (tenant {})", range.log, range.tenant)?;
        writeln!(stdout, "records   {} ({} to {last})", verdict.records, range.first)?;
        writeln!(stdout, "log size  {} records at the checkpoint", range.tree_size)?;
    }
    writeln!(stdout, "complete  {}", if verdict.complete { "yes" } else { "no" })?;
    writeln!(stdout, "open      {} calls without an outcome", verdict.open_slots)?;
    for problem in &verdict.problems {
        let code = serde_json::to_value(problem.code).unwrap_or_default();
        let code = code.as_str().unwrap_or_default();
        let place: String = problem.r#where.chars().filter(|c| !c.is_control()).collect();
        let sentence: String = problem.sentence.chars().filter(|c| !c.is_control()).collect();
        writeln!(stdout, "problem   {code}  {place}: {sentence}")?;
    }
    if without_keys {
        writeln!(stdout, "hint      give the operator's public keys with --key")?;
    }
    let word = if verdict.ok { "verified" } else { "NOT verified" };
    writeln!(stdout, "{word}")
}

fn time_ms(text: &str) -> Result<i64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| error.to_string())?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|error| error.to_string())
}
