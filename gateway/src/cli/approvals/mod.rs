//! `approvals`: what waits for a person, and the person's word on it.
//!
//! It asks the admin API of the running gateway with the caller's own token; nothing is decided
//! here. The arguments are shown as the exact text that would be sent, with everything escaped
//! that a screen would hide; a decision names the digest that was shown, so that nobody approves
//! something else than what they read.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::Duration;

use crate::clock;

use super::api::{self, AdminApi, ApiError};
use super::{ConfigArg, load_config, say};

mod page;

#[cfg(test)]
mod tests;

/// Arguments of `approvals`.
#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    #[command(subcommand)]
    command: ApprovalsCommand,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Which gateway, and as whom.
#[derive(Clone, Debug, Default, Args)]
struct Reach {
    /// Configuration file; else $FORGE_CONFIG, ./forge.toml, $XDG_CONFIG_HOME/forge/forge.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Admin URL; else that of the gateway which runs with the configuration
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// File with your token; else $FORGE_TOKEN, else the token of local mode
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    /// Calls that wait
    List {
        /// pending, approved, denied, expired, cancelled, executing, done, failed, unknown or all
        #[arg(long, value_name = "STATE", default_value = "pending")]
        state: String,
    },
    /// One call, with its exact arguments
    Show {
        /// The approval, ap_…
        id: String,
    },
    /// Let it be sent, once, exactly as shown
    Approve(Ballot),
    /// Refuse it
    Deny(Ballot),
    /// Print calls as they begin to wait, until Ctrl-C
    Watch,
}

#[derive(Debug, Args)]
struct Ballot {
    /// The approval, ap_…
    id: String,
    /// The digest that `show` printed: what you decide about
    #[arg(long, value_name = "DIGEST")]
    expect: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs the command; 3 if the gateway refused the decision.
///
/// # Errors
/// If no gateway can be reached, there is no token, or the answer makes no sense.
pub async fn run(args: ApprovalsArgs) -> anyhow::Result<u8> {
    let api = connect(&args.reach)?;
    let mut stdout = std::io::stdout();
    let desk = Desk { api, reach: args.reach, json: args.json };
    match args.command {
        ApprovalsCommand::List { state } => desk.list(&state, &mut stdout).await,
        ApprovalsCommand::Show { id } => desk.show(&id, &mut stdout).await,
        ApprovalsCommand::Approve(ballot) => desk.decide("approve", ballot, &mut stdout).await,
        ApprovalsCommand::Deny(ballot) => desk.decide("deny", ballot, &mut stdout).await,
        ApprovalsCommand::Watch => desk.watch(&mut stdout).await,
    }
}

fn connect(reach: &Reach) -> anyhow::Result<AdminApi> {
    let own = reach.token_file.is_some() && reach.url.is_some();
    let config = match load_config(&ConfigArg { config: reach.config.clone() }) {
        Ok(config) => Some(config),
        // With an address and a token there is nothing left to look up.
        Err(_) if own || (reach.url.is_some() && reach.config.is_none()) => None,
        Err(fault) => return Err(fault.into()),
    };
    let token = api::find_token(reach.token_file.as_deref(), config.as_ref())?;
    api::connect(reach.url.as_deref(), config.as_ref(), &token)
}

/// Where decisions are made.
#[derive(Debug)]
struct Desk {
    api: AdminApi,
    reach: Reach,
    json: bool,
}

impl Desk {
    async fn list(&self, state: &str, out: &mut impl Write) -> anyhow::Result<u8> {
        let path = match state {
            "all" => "approvals".to_owned(),
            state if state.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                format!("approvals?state={state}")
            }
            state => anyhow::bail!("{state:?} is no state"),
        };
        let found = self.api.get(&path).await?;
        if self.json {
            writeln!(out, "{found}")?;
            return Ok(0);
        }
        let items = items(&found);
        for item in items {
            write!(out, "{}", page::short(item, clock::system().now_ms()))?;
        }
        match items.first() {
            Some(first) if page::text(first, "/state") == "pending" => {
                say(&format!("\nread it first: {}", self.next_show(page::text(first, "/id"))));
            }
            Some(_) => {}
            None => say(&format!("no {} approvals", if state == "all" { "" } else { state })),
        }
        Ok(0)
    }

    async fn show(&self, id: &str, out: &mut impl Write) -> anyhow::Result<u8> {
        let approval = self.api.get(&format!("approvals/{}", checked(id)?)).await?;
        if self.json {
            writeln!(out, "{approval}")?;
            return Ok(0);
        }
        write!(out, "{}", page::long(&approval, clock::system().now_ms()))?;
        if page::text(&approval, "/state") == "pending" {
            let digest = page::text(&approval, "/digest");
            say(&format!("\nto let it be sent:  {}", self.next("approve", id, &digest)));
            say(&format!("to refuse it:       {}", self.next("deny", id, &digest)));
        }
        Ok(0)
    }

    async fn decide(&self, verb: &str, ballot: Ballot, out: &mut impl Write) -> anyhow::Result<u8> {
        let path = format!("approvals/{}/{verb}", checked(&ballot.id)?);
        let body = json!({ "expect": ballot.expect, "reason": ballot.reason });
        let approval = match self.api.post(&path, &body).await {
            Ok(approval) => approval,
            Err(ApiError::Refused { status, code, sentence }) if is_no(status) => {
                if self.json {
                    let said = json!({ "code": code, "detail": sentence, "status": status });
                    writeln!(out, "{said}")?;
                }
                say(&format!("not done: {} [{code}]", page::safe(&sentence)));
                return Ok(3);
            }
            Err(other) => return Err(other.into()),
        };
        if self.json {
            writeln!(out, "{approval}")?;
        } else {
            writeln!(out, "{}", page::decided(&approval))?;
        }
        Ok(0)
    }

    /// Prints what begins to wait and what became of it. Ends with a signal.
    async fn watch(&self, out: &mut impl Write) -> anyhow::Result<u8> {
        let mut open: BTreeMap<String, Value> = BTreeMap::new();
        say("watching for calls that wait; Ctrl-C ends this");
        loop {
            let found = self.api.get("approvals?state=pending").await?;
            let mut now = BTreeMap::new();
            for item in items(&found) {
                let id = page::text(item, "/id");
                if !open.contains_key(&id) {
                    self.print_new(item, out)?;
                }
                now.insert(id, item.clone());
            }
            for id in open.keys().filter(|id| !now.contains_key(*id)) {
                let ended = self.api.get(&format!("approvals/{}", checked(id)?)).await?;
                let line = if self.json { ended.to_string() } else { page::decided(&ended) };
                writeln!(out, "{line}")?;
            }
            out.flush()?;
            open = now;
            tokio::select! {
                signalled = crate::serve::signalled() => return signalled.map(|()| 0),
                () = tokio::time::sleep(WATCH_STEP) => {}
            }
        }
    }

    fn print_new(&self, item: &Value, out: &mut impl Write) -> anyhow::Result<()> {
        if self.json {
            writeln!(out, "{item}")?;
        } else {
            write!(out, "{}", page::short(item, clock::system().now_ms()))?;
            say(&format!("  read it first: {}", self.next_show(page::text(item, "/id"))));
        }
        Ok(())
    }

    fn next_show(&self, id: impl AsRef<str>) -> String {
        format!("forge-gateway approvals show {}{}", id.as_ref(), self.reach.flags())
    }

    fn next(&self, verb: &str, id: &str, digest: &str) -> String {
        format!("forge-gateway approvals {verb} {id} --expect {digest}{}", self.reach.flags())
    }
}

impl Reach {
    /// The same reach for the next command.
    fn flags(&self) -> String {
        let file = |name: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!(" {name} {}", super::quoted(&path.to_string_lossy())))
        };
        let url = self.url.as_ref().map(|url| format!(" --url {}", super::quoted(url)));
        let parts = [file("--config", &self.config), url, file("--token-file", &self.token_file)];
        parts.into_iter().flatten().collect()
    }
}

/// The decision itself was refused, as opposed to the one who asks not being known.
const fn is_no(status: u16) -> bool {
    matches!(status, 400..=499) && status != 401
}

fn items(found: &Value) -> &[Value] {
    found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An id that can stand in a path.
fn checked(id: &str) -> anyhow::Result<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    anyhow::ensure!(
        !id.is_empty() && id.len() <= 64 && id.bytes().all(fits) && !id.starts_with('.'),
        "{id:?} is no approval id; they look like ap_019…"
    );
    Ok(id)
}

const WATCH_STEP: Duration = Duration::from_secs(1);
