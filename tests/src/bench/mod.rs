//! The ladder: what each stage of the line costs, measured on one machine in one run.
//!
//! Every rung is the same gateway with another configuration (`tests/bench/ladder.toml`), in front of
//! one echo server. All of them are started first; then they take turns, round after round, so that
//! a noisy minute hits all alike. The numbers are medians over the rounds. Latencies are those of a
//! closed loop: a connection sends its next call when it has the answer to the last one, and every
//! answer is checked. CPU is user and system time of the gateway's process from `/proc/PID/stat`.

pub mod echo;
pub mod load;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Duration;

use crate::issuer::Issuer;
use crate::process::{Folder, Process, cpu_us};
use load::{Load, Measured};

/// One rung of the ladder, as the file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Its name in the table.
    pub name: String,
    /// `forge.toml` with `{upstream}`, `{issuer}` and `{fast}` (a folder in memory) to be filled in;
    /// left out: the echo server itself.
    pub config: Option<String>,
    /// The folder of the Rego bundle, below `tests/bench/`.
    pub policy: Option<String>,
    /// Send a JWT.
    #[serde(default)]
    pub jwt: bool,
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// From the bottom.
    pub rung: Vec<Rung>,
}

/// How long and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Length of one turn.
    pub turn: Duration,
    /// Turns of each rung for each load.
    pub rounds: usize,
    /// Bytes of text in the arguments.
    pub sizes: Vec<usize>,
    /// Connections at once.
    pub connections: Vec<usize>,
}

/// A rung that runs.
#[derive(Debug)]
struct Standing {
    rung: Rung,
    url: String,
    token: Option<String>,
    pid: i32,
    _process: Option<Process>,
    _folders: Vec<Folder>,
}

/// The identifier that the rungs' gateways expect as audience.
pub const AUDIENCE: &str = "http://127.0.0.1/mcp";

async fn stand(
    rung: Rung,
    home: &Path,
    upstream: &str,
    echo: i32,
    issuer: &Issuer,
    program: &Path,
) -> anyhow::Result<Standing> {
    let token = rung.jwt.then(|| issuer.token("alice", AUDIENCE));
    let Some(config) = &rung.config else {
        return Ok(Standing {
            url: upstream.to_owned(),
            token,
            pid: echo,
            _process: None,
            _folders: Vec::new(),
            rung,
        });
    };
    let folder = Folder::new("bench")?;
    let fast = Folder::in_memory("bench")?;
    let filled = config
        .replace("{upstream}", upstream)
        .replace("{issuer}", &issuer.url)
        .replace("{audience}", AUDIENCE)
        .replace("{fast}", &fast.path().to_string_lossy());
    folder.write("forge.toml", filled)?;
    if let Some(policy) = &rung.policy {
        for entry in std::fs::read_dir(home.join(policy)).context("the policy of a rung")? {
            let entry = entry?;
            let name = format!("policies/{}", entry.file_name().to_string_lossy());
            folder.write(&name, std::fs::read(entry.path())?)?;
        }
    }
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg("forge.toml").current_dir(folder.path());
    let process = Process::start(command, &folder.join("stderr.log")).await?;
    let mcp = process.ready["mcp"].as_str().context("no URL")?.trim_end_matches('/').to_owned();
    let pid = process.pid();
    Ok(Standing {
        url: format!("{mcp}/echo"),
        token,
        pid,
        _process: Some(process),
        _folders: vec![folder, fast],
        rung,
    })
}

/// Climbs the ladder and returns the table.
///
/// # Errors
/// If a rung cannot be started or an answer is wrong.
pub async fn climb(
    ladder: Ladder,
    plan: &Plan,
    home: &Path,
    program: &Path,
) -> anyhow::Result<String> {
    let logs = Folder::new("bench-logs")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--echo");
    let echo = Process::start(command, &logs.join("echo.log")).await?;
    let upstream = echo.ready["url"].as_str().context("no URL")?.to_owned();
    let issuer = Issuer::start().await?;
    let mut standing = Vec::new();
    for rung in ladder.rung {
        let name = rung.name.clone();
        let stood = stand(rung, home, &upstream, echo.pid(), &issuer, program).await;
        standing.push(stood.with_context(|| format!("rung {name}"))?);
    }
    let mut table = String::from(
        "| rung | text | connections | calls/s | p50 µs | p99 µs | CPU µs/call |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for size in &plan.sizes {
        for connections in &plan.connections {
            let load = Load { connections: *connections, text_bytes: *size };
            let results = take_turns(&standing, load, plan).await?;
            for (rung, measured) in standing.iter().zip(results) {
                let middle = median(measured);
                writeln!(
                    table,
                    "| {} | {size} | {connections} | {:.0} | {} | {} | {} |",
                    rung.rung.name, middle.per_s, middle.p50_us, middle.p99_us, middle.cpu_us
                )?;
            }
        }
    }
    Ok(table)
}

async fn take_turns(
    standing: &[Standing],
    load: Load,
    plan: &Plan,
) -> anyhow::Result<Vec<Vec<Measured>>> {
    let mut results: Vec<Vec<Measured>> = vec![Vec::new(); standing.len()];
    for round in 0..=plan.rounds {
        for (rung, result) in standing.iter().zip(&mut results) {
            let before = cpu_us(rung.pid)?;
            let turn = if round == 0 { plan.turn / 4 } else { plan.turn };
            let run = load::run(&rung.url, rung.token.as_deref(), load, turn).await;
            let mut measured = run.with_context(|| format!("rung {}", rung.rung.name))?;
            measured.cpu_us = (cpu_us(rung.pid)? - before) / measured.calls.max(1);
            // Round 0 warms up.
            if round > 0 {
                result.push(measured);
            }
        }
    }
    Ok(results)
}

fn median(mut all: Vec<Measured>) -> Measured {
    let middle = all.len() / 2;
    let mut result = all[middle].clone();
    all.sort_by(|left, right| left.per_s.total_cmp(&right.per_s));
    result.per_s = all[middle].per_s;
    let of = |read: fn(&Measured) -> u64| {
        let mut values: Vec<u64> = all.iter().map(read).collect();
        values.sort_unstable();
        values[middle]
    };
    result.p50_us = of(|measured| measured.p50_us);
    result.p99_us = of(|measured| measured.p99_us);
    result.cpu_us = of(|measured| measured.cpu_us);
    result
}
