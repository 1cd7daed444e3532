//! After the story: how to use the gateway that keeps running.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Surroundings;
use crate::serve::Running;

use super::super::quoted;
use super::folder::{Folder, People};
use super::voice::{Tint, Voice};

/// Prints addresses, a client's configuration, the approvals command and what else could be run.
pub(super) fn keep_running(
    voice: &mut Voice,
    running: &Running,
    folder: &Folder,
    people: &People,
) -> anyhow::Result<()> {
    let url = format!("{}/demo", running.mcp_url());
    let exe = quoted(&folder.exe().to_string_lossy());
    let config = quoted(&folder.config().to_string_lossy());
    let bob = quoted(&folder.path("bob.token").to_string_lossy());
    voice.heading("The gateway keeps running; Ctrl-C stops it")?;
    voice.fact("MCP", &url, Tint::Strong)?;
    voice.fact("admin API", &running.admin_url(), Tint::Plain)?;
    voice.heading("Connect Claude Code (the token is alice's, good on this machine only)")?;
    voice.copy(&format!(
        "claude mcp add --transport http forge-demo {url} \\\n  --header \"Authorization: Bearer {}\"",
        people.alice
    ))?;
    voice.heading("Or put this into .mcp.json")?;
    let server = json!({
        "type": "http",
        "url": url,
        "headers": { "Authorization": format!("Bearer {}", people.alice) },
    });
    let client = json!({ "mcpServers": { "forge-demo": server } });
    voice.copy(&serde_json::to_string_pretty(&client)?)?;
    voice.heading("Approve as bob, in another terminal (let the client transfer 2500 first)")?;
    voice
        .copy(&format!("{exe} approvals watch \\\n  --config {config} \\\n  --token-file {bob}"))?;
    offer(voice, folder)
}

/// Servers from npm and PyPI, where something to run them with is installed.
fn offer(voice: &mut Voice, folder: &Folder) -> anyhow::Result<()> {
    let path = (Surroundings::of(Path::new(".")).env)("PATH").unwrap_or_default();
    let offers = offers(|program| is_installed(&path, program));
    if offers.is_empty() {
        return Ok(());
    }
    voice.heading("More tool servers, if you like")?;
    voice.say(&format!("Stop this gateway, add to {}:", folder.config().display()))?;
    for offer in offers {
        voice.copy(&format!("\n{offer}"))?;
    }
    let serve = format!(
        "{} serve \\\n  --config {}",
        quoted(&folder.exe().to_string_lossy()),
        quoted(&folder.config().to_string_lossy())
    );
    voice.copy(&format!("\nand run\n\n{serve}"))?;
    Ok(())
}

/// Configuration for what can be run here.
pub(super) fn offers(installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut offers = Vec::new();
    if installed("node") && installed("npx") {
        offers.push(NPM);
    }
    if installed("uvx") {
        offers.push(PYPI_UVX);
    } else if installed("python3") {
        offers.push(PYPI_PIP);
    }
    offers
}

fn is_installed(path: &str, program: &str) -> bool {
    path.split(':').any(|folder| PathBuf::from(folder).join(program).is_file())
}

const NPM: &str = r#"[servers.everything]                # from npm, with Node
command = ["npx", "-y", "@modelcontextprotocol/server-everything"]"#;

const PYPI_UVX: &str = r#"[servers.time]                      # from PyPI, with uv
command = ["uvx", "mcp-server-time"]"#;

const PYPI_PIP: &str = r#"[servers.time]                      # from PyPI; first: python3 -m pip install mcp-server-time
command = ["python3", "-m", "mcp_server_time"]"#;
