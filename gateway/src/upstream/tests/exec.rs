//! The command that becomes a tool server.
//!
//! The gateway's own program is not built with these tests, so the test program stands in for it:
//! started with the name of the first test below and arguments after `--`, it becomes a child.

use super::*;
use forge_schemas::refusal::RefusalCode;
use std::io::Read as _;
use std::process::{Command, Stdio};

#[test]
#[expect(clippy::exit, reason = "stands in for main")]
fn becomes_a_child_if_started_as_one() {
    let args =
        std::env::args_os().skip_while(|word| !word.to_string_lossy().starts_with("--parent="));
    let args: Vec<_> = args.collect();
    if !args.is_empty() {
        std::process::exit(super::super::exec::exec_child_main(args).into());
    }
}

fn launcher() -> Vec<OsString> {
    let exe = std::env::current_exe().unwrap();
    let test = "upstream::tests::exec::becomes_a_child_if_started_as_one";
    vec![exe.into(), "--exact".into(), test.into(), "--nocapture".into(), "--".into()]
}

#[tokio::test]
async fn server_started_through_the_command_works() {
    let bench = Bench::new(Transport::Stdio(hostile("")), Limits::default(), launcher());
    let answer = bench.ask(tool(&json!(1), "echo", &json!({"x": 1}))).await.unwrap();
    assert_eq!(said(&answer), r#"{"x": 1}"#);
    bench.end().await;
}

#[tokio::test]
async fn missing_program_is_unavailable_through_the_command_too() {
    let settings = StdioSettings::new("/nonexistent/server");
    let bench = Bench::new(Transport::Stdio(settings), Limits::default(), launcher());
    for out in [initialize(), tool(&json!(1), "echo", &json!({}))] {
        let error = bench.ask(out).await.unwrap_err();
        assert_eq!((error.code(), error.sent()), (RefusalCode::UpstreamUnavailable, false));
    }
    assert!(bench.one.stderr_tail().contains("cannot be executed"));
    bench.end().await;
}

#[test]
fn exit_codes_say_what_failed() {
    let own = format!("--parent={}", std::process::id());
    for (words, code) in [
        (&[own.as_str(), "--", "/nonexistent/server"][..], 127),
        (&[&own, "/etc/passwd"], 126),
        (&[&own, "--"], 125),
        (&["--parent=1", "--", "true"], 125),
        (&[&own, "--", "true"], 0),
    ] {
        let launcher = launcher();
        let mut command = Command::new(&launcher[0]);
        command.args(&launcher[1..]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(code), "{words:?}");
    }
}

#[tokio::test]
async fn child_dies_when_the_gateway_is_killed() {
    let launcher: Vec<_> = launcher().into_iter().map(|word| word.into_string().unwrap()).collect();
    let gateway = format!(
        "import os, subprocess, sys\n\
         words = {} + ['--parent=%d' % os.getpid(), '--', sys.executable, '-c', {}]\n\
         child = subprocess.Popen(words, stdout=subprocess.PIPE, process_group=0)\n\
         while b'up' not in child.stdout.readline(): pass\n\
         print(child.pid, flush=True)\n\
         os.kill(os.getpid(), 9)\n",
        serde_json::to_string(&launcher).unwrap(),
        r#"'import time; print("up", flush=True); time.sleep(600)'"#,
    );
    let mut killed =
        Command::new("python3").args(["-c", &gateway]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    killed.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    killed.wait().unwrap();
    let child: u32 = said.trim().parse().unwrap();
    until(|| !is_running(child)).await;
}
