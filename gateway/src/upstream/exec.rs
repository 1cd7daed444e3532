//! The hidden command `exec-child`: becomes a tool server that dies with the gateway.
//!
//! The kernel clears the parent-death signal when a process forks and keeps it over `execve`
//! (prctl(2), `PR_SET_PDEATHSIG`), so it has to be set in the child. Doing that between fork and
//! exec needs unsafe code; doing it in a process of our own, which then replaces itself, does not.
//! The signal reaches this process only: what the server itself starts is ended with the process
//! group by `stdio::process`, or, if the gateway was killed, by the end of its input.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Exit code if the command was not found.
pub const NOT_FOUND: u8 = 127;
/// Exit code if the command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code if the gateway was gone already or the arguments are wrong.
pub const NOT_STARTED: u8 = 125;

/// Replaces this process by a command: `[--parent=PID] [--] COMMAND [ARGUMENT…]`.
///
/// Returns only if that failed, with the exit code to use.
#[must_use]
pub fn exec_child_main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let mut args = args.into_iter().peekable();
    let parent = args.peek().and_then(|first| parent_pid(first));
    if parent.is_some() {
        drop(args.next());
    }
    drop(args.next_if(|next| next == "--"));
    let Some(program) = args.next() else { return failed("no command", NOT_STARTED) };
    if let Err(error) = die_with_parent() {
        return failed(&format!("the parent-death signal cannot be set: {error}"), NOT_STARTED);
    }
    // The gateway may have died before the signal was set; then nobody would send it.
    if parent.is_some_and(|pid| pid != rustix::process::getppid().map_or(0, raw_pid)) {
        return failed("the gateway is gone", NOT_STARTED);
    }
    let error = Command::new(program).args(args).exec();
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let code = if missing { NOT_FOUND } else { NOT_EXECUTABLE };
    failed(&format!("the command cannot be executed: {error}"), code)
}

fn parent_pid(argument: &OsStr) -> Option<i32> {
    argument.to_str()?.strip_prefix("--parent=")?.parse().ok()
}

fn raw_pid(pid: rustix::process::Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> std::io::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> std::io::Result<()> {
    Ok(())
}

fn failed(sentence: &str, code: u8) -> u8 {
    // Standard error may be closed; the exit code says the same.
    drop(writeln!(std::io::stderr(), "forge-gateway exec-child: {sentence}"));
    code
}
