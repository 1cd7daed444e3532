//! Checks a policy bundle in a child process (architecture §3.5).
//!
//! A hostile bundle can hang the parser and overflow the stack of whoever compiles it. So the same
//! binary is started again with the hidden command `check-bundle`; it limits itself, reads the
//! bundle from stdin and writes what it found to stdout. If it dies, the bundle is refused.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use forge_policies::check::code::CHECKER_DIED;
use forge_policies::{Bundle, CheckReport, CheckRequest, CheckResponse, Fault, check_json};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The hidden command of this binary.
pub const COMMAND: &str = "check-bundle";

/// Wall clock for the child.
const WALL: Duration = Duration::from_secs(30);
/// Processor seconds of the child.
const CPU_S: u64 = 10;
/// Address space of the child, in bytes.
const MEMORY_BYTES: u64 = 1 << 30;
/// Stack of the thread that checks, in bytes: half of what worker threads have.
const STACK_BYTES: usize = 1 << 20;
/// Most bytes of a question: a bundle at its largest, escaped.
const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of an answer.
const RESPONSE_BYTES_MAX: u64 = 16 << 20;

/// The bundle may not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum BundleCheckError {
    /// It has faults; `policy.checker_died` if the checker did not survive it.
    #[error("the policy bundle has {} faults:{}", .0.len(), listed(.0))]
    Faults(Vec<Fault>),
    /// The checker could not be started.
    #[error("the bundle checker {exe} cannot be started", exe = .exe.display())]
    Start {
        /// The program.
        exe: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// Checks `bundle` with `exe check-bundle`.
///
/// Cancelling kills the child. Nothing is written.
///
/// # Errors
/// If the bundle has faults, or the child cannot be started or does not end well.
pub async fn check_in_child(exe: &Path, bundle: &Bundle) -> Result<CheckReport, BundleCheckError> {
    check_within(exe, bundle, WALL).await
}

async fn check_within(
    exe: &Path,
    bundle: &Bundle,
    wall: Duration,
) -> Result<CheckReport, BundleCheckError> {
    let request = CheckRequest { sources: bundle.sources().to_vec() };
    let request = serde_json::to_vec(&request).unwrap_or_default();
    let started = Command::new(exe)
        .arg(COMMAND)
        .env_clear()
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child =
        started.map_err(|source| BundleCheckError::Start { exe: exe.to_owned(), source })?;
    // Dropping the child at the deadline kills it.
    let answer = tokio::time::timeout(wall, converse(child, &request)).await;
    let response = match answer {
        Err(_elapsed) => Err(format!("it took longer than {} s", wall.as_secs())),
        Ok(answer) => answer,
    };
    match response {
        Ok(CheckResponse::Report(report)) => Ok(report),
        Ok(CheckResponse::Faults(faults)) => Err(BundleCheckError::Faults(faults)),
        Err(how) => {
            let message =
                format!("checking the bundle ended badly: {how}; remove what is deep or recursive");
            let (file, code) = (String::new(), CHECKER_DIED.to_owned());
            Err(BundleCheckError::Faults(vec![Fault { file, line: 0, column: 0, code, message }]))
        }
    }
}

/// Writes the question, reads the answer, waits. The error says how the child ended.
async fn converse(mut child: Child, request: &[u8]) -> Result<CheckResponse, String> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no pipes".to_owned());
    };
    let ask = async move {
        // A child that dies early breaks the pipe; its exit status says more.
        let written = stdin.write_all(request).await;
        drop(stdin);
        written.is_ok()
    };
    let listen = async move {
        let mut answer = Vec::new();
        let read = stdout.take(RESPONSE_BYTES_MAX).read_to_end(&mut answer).await;
        read.map(|_length| answer)
    };
    let (asked, answer) = tokio::join!(ask, listen);
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(status.to_string());
    }
    if !asked {
        return Err("it did not read the bundle".to_owned());
    }
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|_error| "it gave no answer".to_owned())
}

/// The child: limits itself, reads a bundle from stdin, writes the answer to stdout. Returns the
/// exit code, 1 if it could not limit itself or its pipes broke.
#[must_use]
pub fn child_main() -> u8 {
    let limited = limit(Resource::Cpu, CPU_S)
        .and_then(|()| limit(Resource::As, MEMORY_BYTES))
        .and_then(|()| limit(Resource::Core, 0));
    if limited.is_err() {
        return 1;
    }
    let mut request = Vec::new();
    let read = std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut request);
    if read.is_err() {
        return 1;
    }
    // On less stack than the threads have that will load and ask the bundle: what overflows, does
    // so here.
    let checker = std::thread::Builder::new().stack_size(STACK_BYTES);
    let Ok(Ok(response)) = checker.spawn(move || check_json(&request)).map(|thread| thread.join())
    else {
        return 1;
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&response).and_then(|()| stdout.flush());
    u8::from(written.is_err())
}

/// Lowers a limit; never raises one that is lower already.
fn limit(resource: Resource, most: u64) -> Result<(), rustix::io::Errno> {
    let present = getrlimit(resource);
    let lowest = |bound: Option<u64>| Some(bound.map_or(most, |bound| bound.min(most)));
    let wanted = Rlimit { current: lowest(present.current), maximum: lowest(present.maximum) };
    setrlimit(resource, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that plays the child.
    fn child(name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path =
            std::env::temp_dir().join(format!("forge-checker-{}-{name}", std::process::id()));
        let staged = path.with_extension("new");
        std::fs::write(&staged, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&staged, &path).unwrap();
        path
    }

    async fn outcome(name: &str, script: &str) -> String {
        let exe = child(name, script);
        for _attempt in 0..100 {
            match check_within(&exe, &forge_policies::starter(), Duration::from_secs(2)).await {
                Ok(report) => return format!("report {}", report.revision),
                Err(BundleCheckError::Faults(faults)) => {
                    return faults
                        .iter()
                        .map(|fault| fault.code.as_str())
                        .collect::<Vec<_>>()
                        .join(" ");
                }
                // Another test's fork may still hold the script open for writing (ETXTBSY).
                Err(BundleCheckError::Start { .. }) => tokio::task::yield_now().await,
            }
        }
        panic!("the script cannot be started");
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_well_refuses_the_bundle() {
        let cases = [
            ("exit", "exit 1"),
            ("abort", "kill -ABRT $$"),
            ("kill", "kill -KILL $$"),
            ("hang", "exec sleep 60"),
            ("silent", "cat >/dev/null"),
            ("garbage", "cat >/dev/null; echo hello"),
            ("deaf", "exec 0<&-; exit 0"),
            ("echo", "cat"),
        ];
        for (name, script) in cases {
            assert_eq!(outcome(name, script).await, CHECKER_DIED, "{name}");
        }
    }

    #[tokio::test]
    async fn what_the_child_finds_is_handed_on() {
        let fault = r#"cat >/dev/null; echo '{"faults":[{"file":"a","line":1,"column":2,"code":"x.y","message":"m"}]}'"#;
        assert_eq!(outcome("faults", fault).await, "x.y");
        let report = r#"cat >/dev/null; echo '{"report":{"revision":"r","digest":"d","entry_packages":[],"rules":1,"tests":0,"warnings":[]}}'"#;
        assert_eq!(outcome("report", report).await, "report r");
    }

    #[tokio::test]
    async fn a_checker_that_is_not_there_is_not_a_fault_of_the_bundle() {
        let error = check_in_child(Path::new("/nowhere"), &forge_policies::starter()).await;
        assert!(matches!(error, Err(BundleCheckError::Start { .. })));
    }
}
