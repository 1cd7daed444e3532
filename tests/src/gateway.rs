//! The real `forge-gateway` in a folder of its own: started, crashed, started again, asked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep};

use crate::client::{Legacy, Modern};
use crate::http::{Answer, send};
use crate::process::{Folder, Output, PATIENCE, Process, program, run};

/// The bundle of the tests, by file name: calls that are allowed, refused by an argument, and held.
pub const POLICY: [(&str, &str); 4] = [
    ("admin.rego", include_str!("../policies/admin.rego")),
    ("approve.rego", include_str!("../policies/approve.rego")),
    ("list.rego", include_str!("../policies/list.rego")),
    ("request.rego", include_str!("../policies/request.rego")),
];

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `[auth]` and its issuers.
    pub auth: String,
    /// The Rego bundle: file name and text.
    pub policy: Vec<(String, String)>,
    /// Tables that follow: `[servers.…]`, `[limits]`, `[detect]`, …
    pub rest: String,
    /// More lines for `[evidence]`.
    pub evidence: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            auth: "mode = \"local\"".to_owned(),
            policy: POLICY.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec(),
            rest: String::new(),
            evidence: String::new(),
        }
    }
}

impl Setup {
    /// With the toy server over stdio, under the name `toy`.
    ///
    /// # Errors
    /// If the programs are not built.
    pub fn with_toy(mut self, ledger: &Path) -> anyhow::Result<Self> {
        let toy = program("toy")?;
        let line = format!(
            "\n[servers.toy]\ncommand = [{toy:?}, \"--stdio\", \"--ledger\", {ledger:?}]\n"
        );
        self.rest.push_str(&line);
        Ok(self)
    }

    /// With `from` replaced by `to` in the policy.
    #[must_use]
    pub fn with_rule(mut self, from: &str, to: &str) -> Self {
        for (_, text) in &mut self.policy {
            *text = text.replace(from, to);
        }
        self
    }

    /// With a server over HTTP.
    #[must_use]
    pub fn with_url(mut self, name: &str, url: &str) -> Self {
        self.rest.push_str(&format!("\n[servers.{name}]\nurl = \"{url}\"\n"));
        self
    }

    /// With more TOML.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.rest.push_str(toml);
        self
    }

    /// The file.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self { auth, rest, evidence, .. } = self;
        format!(
            "[listen]\nmcp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n[auth]\n{auth}\n\n\
             [policy]\nbundle = \"policies/\"\n\n[evidence]\npath = \"evidence/\"\n\
             commit_interval_ms = 1\n{evidence}\n\n[store]\nurl = \"sqlite://forge.db\"\n{rest}"
        )
    }
}

/// A gateway and its folder.
#[derive(Debug)]
pub struct Gateway {
    /// Where everything of it lies.
    pub folder: Folder,
    /// The running process.
    pub process: Process,
    program: PathBuf,
}

impl Gateway {
    /// Writes configuration and policy into a new folder and starts the gateway there.
    ///
    /// # Errors
    /// If it does not become ready; the message quotes what it said.
    pub async fn start(setup: &Setup) -> anyhow::Result<Self> {
        let folder = Self::prepare(setup)?;
        let program = program("forge-gateway")?;
        let process = Self::launch(&program, &folder).await?;
        Ok(Self { folder, process, program })
    }

    /// The folder with configuration and policy, without starting anything.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepare(setup: &Setup) -> anyhow::Result<Folder> {
        let folder = Folder::new("gateway")?;
        folder.write("forge.toml", setup.toml())?;
        for (name, text) in &setup.policy {
            folder.write(&format!("policies/{name}"), text)?;
        }
        Ok(folder)
    }

    /// Starts the gateway in a prepared folder.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_in(folder: Folder) -> anyhow::Result<Self> {
        let program = program("forge-gateway")?;
        let process = Self::launch(&program, &folder).await?;
        Ok(Self { folder, process, program })
    }

    /// Starts it under a limit on the size of files (as a full disk, for which one need not be
    /// root).
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_limited(setup: &Setup, file_bytes_max: u64) -> anyhow::Result<Self> {
        let folder = Self::prepare(setup)?;
        let program = program("forge-gateway")?;
        // SIGXFSZ ignored (trap ''), so that a write over the limit is an error and not the end.
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$0\" serve --config forge.toml",
            file_bytes_max / 1024
        );
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).arg(&program).current_dir(folder.path());
        let process = Process::start(command, &folder.join("stderr.log")).await?;
        Ok(Self { folder, process, program })
    }

    async fn launch(program: &Path, folder: &Folder) -> anyhow::Result<Process> {
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg("forge.toml").current_dir(folder.path());
        Process::start(command, &folder.join("stderr.log")).await
    }

    /// Starts it again in the same folder, after it ended.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = Self::launch(&self.program, &self.folder).await?;
        Ok(())
    }

    /// The endpoint of one server.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        format!("{}/{server}", self.mcp().trim_end_matches('/'))
    }

    /// The endpoint of all servers.
    #[must_use]
    pub fn mcp(&self) -> &str {
        self.process.ready["mcp"].as_str().unwrap_or_default()
    }

    /// The admin listener.
    #[must_use]
    pub fn admin(&self) -> &str {
        self.process.ready["admin"].as_str().unwrap_or_default()
    }

    /// Runs a command of the program with this configuration.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<Output> {
        let words = [words, &["--config", "forge.toml"]].concat();
        run(&self.program, &words, self.folder.path()).await
    }

    /// A local token.
    ///
    /// # Errors
    /// If the command refuses.
    pub async fn token(&self, subject: &str, roles: &[&str]) -> anyhow::Result<String> {
        let mut words = vec!["token", "mint", "--subject", subject];
        for role in roles {
            words.extend(["--role", role]);
        }
        let output = self.command(&words).await?;
        ensure!(output.code == 0, "token mint: {}", output.stderr);
        Ok(output.stdout.trim().to_owned())
    }

    /// A session at one server.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn legacy(&self, server: &str, token: &str) -> anyhow::Result<Legacy> {
        Legacy::connect(&self.url(server), Some(token)).await
    }

    /// A stateless client of one server.
    #[must_use]
    pub fn modern(&self, server: &str, token: &str) -> Modern {
        Modern::new(&self.url(server), Some(token))
    }

    /// A request to the admin API: `path` begins after `/api/v1`.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn api(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}/api/v1{path}", self.admin().trim_end_matches('/'));
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        send(method, &url, &headers, body.map(Value::to_string).unwrap_or_default()).await
    }

    /// Approvals that wait for a person, as the admin API lists them.
    ///
    /// # Errors
    /// If the API refuses.
    pub async fn pending(&self, token: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.api(Method::GET, "/approvals?state=pending", token, None).await?;
        ensure!(answer.status == 200, "approvals: {} {}", answer.status, answer.text());
        let body = answer.json()?;
        let list = body.as_array().or_else(|| body["approvals"].as_array());
        let list = list.or_else(|| body["items"].as_array());
        Ok(list.cloned().unwrap_or_default())
    }

    /// The one approval that waits, as soon as there is one.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn one_pending(&self, token: &str) -> anyhow::Result<Value> {
        eventually("an approval request", || async { Ok(self.pending(token).await?.pop()) }).await
    }

    /// Decides an approval: `verdict` is `approve` or `deny`, bound to the digest shown.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn decide(
        &self,
        approval: &Value,
        verdict: &str,
        token: &str,
    ) -> anyhow::Result<Answer> {
        let id = approval["id"].as_str().context("an approval has an id")?;
        let body = serde_json::json!({"expect": approval["digest"], "reason": "a test"});
        self.api(Method::POST, &format!("/approvals/{id}/{verdict}"), token, Some(&body)).await
    }

    /// A request to the admin listener without credentials: health and metrics.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn open(&self, path: &str) -> anyhow::Result<Answer> {
        send(Method::GET, &format!("{}{path}", self.admin().trim_end_matches('/')), &[], "").await
    }

    /// Exports all evidence and verifies it offline, with the keys of this installation.
    ///
    /// # Errors
    /// If a command fails in another way than by saying no.
    pub async fn verdict(&self) -> anyhow::Result<Value> {
        let pack = self.export(&[]).await?;
        let keys: Vec<String> = ["evidence", "pack"]
            .map(|name| self.folder.join(format!("keys/{name}.pub.pem")).display().to_string())
            .to_vec();
        let words = ["evidence", "verify", &pack, "--json", "--key", &keys[0], "--key", &keys[1]];
        let output = run(&self.program, &words, self.folder.path()).await?;
        ensure!(matches!(output.code, 0 | 3), "evidence verify: {}", output.stderr);
        output.json()
    }

    async fn export(&self, more: &[&str]) -> anyhow::Result<String> {
        let pack = format!("pack-{}.tar", uuid::Uuid::now_v7());
        let words = [&["evidence", "export", "--out", &pack], more].concat();
        let output = self.command(&words).await?;
        ensure!(output.code == 0, "evidence export: {} {}", output.stdout, output.stderr);
        Ok(pack)
    }

    /// All records of the only log, as JSON, out of a pack: what an auditor would read.
    ///
    /// # Errors
    /// If the export fails.
    pub async fn records(&self) -> anyhow::Result<Vec<Value>> {
        self.read_records(&[]).await
    }

    /// All records of one tenant's log, as JSON.
    ///
    /// # Errors
    /// If the export fails.
    pub async fn records_of(&self, tenant: &str) -> anyhow::Result<Vec<Value>> {
        self.read_records(&["--tenant", tenant]).await
    }

    async fn read_records(&self, more: &[&str]) -> anyhow::Result<Vec<Value>> {
        let pack = self.export(more).await?;
        let words = ["-xOf", &pack, "--wildcards", "*/data/records/*.jsonl"];
        let output = run(Path::new("tar"), &words, self.folder.path()).await?;
        ensure!(output.code == 0, "tar: {}", output.stderr);
        std::fs::remove_file(self.folder.join(&pack))?;
        let lines = output.stdout.lines();
        lines.map(|line| serde_json::from_str(line).context("a record is not JSON")).collect()
    }
}

/// Asks again and again until the answer is `Some`, for as long as patience lasts. The only way
/// for a test to wait: it never waits longer than it has to.
///
/// # Errors
/// If `ask` fails or patience ends.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
