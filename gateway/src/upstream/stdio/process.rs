//! One child process: its pipes, its group, its end.
//!
//! A child gets a clean environment and a process group of its own. Five things run for it: a writer
//! that owns standard input (a line that was begun is always finished, or the pipe is useless), a
//! reader per output, and a keeper that waits for the end, ends the group and reaps. The group is
//! killed before its leader is reaped, while its number cannot belong to anybody else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as thread_channel};
use std::time::Duration;

use bytes::Bytes;
use forge_schemas::ids::ServerName;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::lines::{Line, Lines};
use super::routes::Routes;
use crate::upstream::body::{after, expiry};
use crate::upstream::health::Counters;
use crate::upstream::settings::{Common, Limits, StdioSettings};

/// Starts processes on a thread that lives as long as they do: the parent-death signal is sent when
/// the *thread* that started a process ends (prctl(2)).
#[derive(Clone, Debug)]
pub(super) struct Spawner(thread_channel::Sender<Order>);

type Order = (Command, oneshot::Sender<io::Result<tokio::process::Child>>);

impl Spawner {
    /// Starts the thread. It ends with the last clone of this value.
    pub(super) fn start(runtime: Handle) -> io::Result<Self> {
        let (sender, receiver) = thread_channel::channel::<Order>();
        let serve = move || {
            let _entered = runtime.enter();
            while let Ok((mut command, reply)) = receiver.recv() {
                // If nobody waits any more the child is dropped, and killed by that.
                drop(reply.send(command.spawn()));
            }
        };
        std::thread::Builder::new().name("spawner".to_owned()).spawn(serve)?;
        Ok(Self(sender))
    }

    async fn spawn(&self, command: Command) -> io::Result<tokio::process::Child> {
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.0.send((command, reply)).map_err(|_order| gone())?;
        child.await.map_err(|_closed| gone())?
    }
}

/// What a child needs from its server.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) name: ServerName,
    pub(super) settings: Arc<StdioSettings>,
    pub(super) common: Arc<Common>,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) stderr: Arc<Mutex<VecDeque<u8>>>,
    pub(super) spawner: Spawner,
    pub(super) tasks: TaskTracker,
}

/// A handle to a child process. Dropping the last one ends the process.
#[derive(Debug)]
pub(super) struct Child {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    routes: Mutex<Routes>,
    writer: mpsc::Sender<Job>,
    /// Asks the process to end.
    stop: CancellationToken,
    /// The process has ended and nothing of its group is left.
    ended: CancellationToken,
    grace: Mutex<Duration>,
    used: Mutex<Instant>,
    /// Requests that got no answer in time since the process last said anything.
    missed: AtomicU32,
    idle: Duration,
    write_timeout: Duration,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// By the gateway's wish.
    pub(super) asked: bool,
    /// How long it lived.
    pub(super) lived: Duration,
    /// Its exit code, unless a signal ended it.
    pub(super) code: Option<i32>,
}

#[derive(Debug)]
struct Job {
    line: Bytes,
    state: Arc<AtomicU8>,
    done: oneshot::Sender<io::Result<()>>,
}

/// A line on its way to the child.
#[derive(Debug)]
pub(super) struct Sending {
    state: Arc<AtomicU8>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Child {
    /// Starts a process; `ended` is called once nothing of it is left.
    pub(super) async fn start(
        around: &Surroundings,
        routes: Routes,
        idle: Duration,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let mut process = around.spawner.spawn(command(around)).await?;
        around.counters.starts.up();
        let missing = || io::Error::other("a pipe of the process is missing");
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stderr = process.stderr.take().ok_or_else(missing)?;
        let group = Group::of(&process)?;
        let (writer, jobs) = mpsc::channel(QUEUED_LINES);
        let shared = Arc::new(Shared {
            routes: Mutex::new(routes),
            writer,
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            grace: Mutex::new(around.settings.grace),
            used: Mutex::new(Instant::now()),
            missed: AtomicU32::new(0),
            idle,
            write_timeout: around.settings.write_timeout,
        });
        let tasks = &around.tasks;
        tasks.spawn(write(Arc::clone(&shared), stdin, jobs));
        tasks.spawn(collect(Arc::clone(&shared), stderr, around.clone()));
        let limit = around.limits.message_bytes_max;
        let silent = CancellationToken::new();
        let reading = read(Arc::clone(&shared), Lines::new(stdout, limit));
        let until = silent.clone().drop_guard();
        let reader = tasks.spawn(async move {
            reading.await;
            drop(until);
        });
        let reader = reader.abort_handle();
        let keeper = Keeper { shared: Arc::clone(&shared), process, group, silent, reader };
        let (counters, name) = (Arc::clone(&around.counters), around.name.clone());
        tasks.spawn(async move {
            let end = keeper.keep().await;
            if !end.asked {
                counters.crashes.up();
                let (code, lived_ms) = (end.code, end.lived.as_millis());
                warn!(upstream = %name, code, lived_ms, "tool server's process ended by itself");
            }
            ended(end);
        });
        Ok(Arc::new(Self { shared }))
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, Routes> {
        self.shared.routes()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.shared.stop.is_cancelled() || self.routes().is_dead()
    }

    /// Notes that the child is in use.
    pub(super) fn touch(&self) {
        *self.shared.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Notes that an answer is overdue. A process that has been silent through several is stuck,
    /// and another one takes its place.
    pub(super) fn missed(&self) {
        let before = self.shared.missed.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) >= MISSED_MAX {
            self.shared.stop.cancel();
        }
    }

    /// Asks the process to end within `grace`.
    pub(super) fn stop(&self, grace: Option<Duration>) {
        if let Some(grace) = grace {
            *self.shared.grace.lock().unwrap_or_else(PoisonError::into_inner) = grace;
        }
        self.shared.stop.cancel();
    }

    /// Waits until nothing of the process is left.
    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Queues a line. Waits while the queue is full; nothing was sent if the future is dropped.
    pub(super) async fn queue(&self, line: Bytes) -> Option<Sending> {
        let (job, sending) = job(line);
        self.shared.writer.send(job).await.ok()?;
        Some(sending)
    }

    /// Queues a line that nobody waits for, if there is room.
    pub(super) fn queue_now(&self, line: Bytes) {
        let (job, _sending) = job(line);
        drop(self.shared.writer.try_send(job));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_at(&self) -> Instant {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = if self.routes().is_busy() { Duration::ZERO } else { used.elapsed() };
        after(self.idle.saturating_sub(unused))
    }

    fn grace(&self) -> Duration {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending {
    /// Waits until the line was written whole. `None` if the pipe is closed.
    pub(super) async fn written(&mut self) -> Option<()> {
        (&mut self.done).await.ok()?.ok()
    }

    /// Takes the line back. False if it was begun already.
    pub(super) fn withdraw(&self) -> bool {
        let begun =
            self.state.compare_exchange(QUEUED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire);
        begun != Err(BEGUN)
    }
}

fn job(mut line: Bytes) -> (Job, Sending) {
    if !line.ends_with(b"\n") {
        line = [&line, &b"\n"[..]].concat().into();
    }
    let state = Arc::new(AtomicU8::new(QUEUED));
    let (done, written) = oneshot::channel();
    (Job { line, state: Arc::clone(&state), done }, Sending { state, done: written })
}

fn command(around: &Surroundings) -> Command {
    let Surroundings { settings, common, .. } = around;
    let mut words = common.launcher.iter();
    let mut command = match words.next() {
        Some(launcher) => {
            let mut command = Command::new(launcher);
            command.args(words);
            command.arg(format!("--parent={}", std::process::id())).arg("--");
            command.arg(&settings.command);
            command
        }
        None => Command::new(&settings.command),
    };
    command.args(&settings.args);
    command.env_clear().envs(&common.base_env).envs(&settings.env);
    if let Some(cwd) = &settings.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// Writes lines until the process is to end; then closes the pipe.
async fn write(shared: Arc<Shared>, mut stdin: ChildStdin, mut jobs: mpsc::Receiver<Job>) {
    loop {
        let job = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            job = jobs.recv() => job,
        };
        let Some(Job { line, state, done }) = job else { break };
        let begun = state.compare_exchange(QUEUED, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            continue;
        }
        let writing = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            writing = tokio::time::timeout(shared.write_timeout, stdin.write_all(&line)) => writing,
        };
        let written = writing.unwrap_or_else(|late| Err(late.into()));
        let failed = written.is_err();
        drop(done.send(written));
        if failed {
            // Half a line makes every later one unreadable.
            shared.stop.cancel();
        }
    }
}

/// Reads lines until the pipe ends; without it the process is of no use.
async fn read(shared: Arc<Shared>, mut lines: Lines<ChildStdout>) {
    loop {
        match lines.next().await {
            Ok(Some(Line::Whole(line))) => {
                shared.missed.store(0, Ordering::Relaxed);
                if !line.is_empty() {
                    shared.routes().receive(&line);
                }
            }
            Ok(Some(Line::TooLong { head, tail })) => shared.routes().too_large(&head, &tail),
            Ok(None) | Err(_) => break,
        }
        // A child that writes without end leaves others their turn.
        tokio::task::consume_budget().await;
    }
}

/// Keeps the end of what the process says on standard error, and reads on whatever it is. Something
/// that left the process group may hold the pipe open for ever, so this ends with the process.
async fn collect(shared: Arc<Shared>, mut stderr: ChildStderr, around: Surroundings) {
    let collecting = async {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut piece).await {
            around.counters.stderr_bytes.add(count);
            let mut kept = around.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(piece.iter().take(count));
            let surplus = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..surplus);
        }
    };
    let over = async {
        shared.ended.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = collecting => {}
        () = over => {}
    }
}

struct Keeper {
    shared: Arc<Shared>,
    process: tokio::process::Child,
    group: Group,
    /// The reader has ended.
    silent: CancellationToken,
    reader: tokio::task::AbortHandle,
}

impl Keeper {
    /// Waits for the end of the process, brings it about if asked, and cleans up.
    async fn keep(mut self) -> End {
        let started = Instant::now();
        let asked = self.wait().await;
        let stop = !self.group.exited().await_for(Duration::ZERO).await;
        if stop {
            self.shared.stop.cancel();
            self.end().await;
        }
        self.shared.stop.cancel();
        self.group.kill();
        // What was written before the end still counts.
        if tokio::time::timeout(LAST_WORDS, self.silent.cancelled()).await.is_err() {
            self.reader.abort();
        }
        let code = self.process.wait().await.ok().and_then(|status| status.code());
        self.group.forget();
        self.shared.routes().die();
        self.shared.ended.cancel();
        End { asked, lived: started.elapsed(), code }
    }

    /// Waits until the process has ended, closed its output, or is to end. Whether it was asked to.
    async fn wait(&self) -> bool {
        loop {
            let idle_at = self.shared.idle_at();
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return true,
                () = self.group.exited().wait() => return false,
                () = self.silent.cancelled() => return false,
                () = expiry(Some(idle_at)) => {}
            }
            if self.shared.idle_at() <= Instant::now() {
                return true;
            }
        }
    }

    /// Closed stdin, then SIGTERM, then (by the caller) SIGKILL.
    async fn end(&self) {
        let half = self.shared.grace().checked_div(2).unwrap_or_default();
        if self.group.exited().await_for(half).await {
            return;
        }
        self.group.signal(Signal::TERM);
        self.group.exited().await_for(half).await;
    }
}

/// The process group of a child that was not reaped yet. Killed when dropped.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
    ended: AsyncFd<OwnedFd>,
}

/// The end of a group's leader.
struct Exited<'a>(&'a AsyncFd<OwnedFd>);

impl Group {
    fn of(process: &tokio::process::Child) -> io::Result<Self> {
        let id = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let leader = id.ok_or_else(|| io::Error::other("the process has ended"))?;
        let ended = pidfd_open(leader, PidfdFlags::NONBLOCK)?;
        // Readable once the process is a zombie (pidfd_open(2)); it is reaped later.
        #[expect(deprecated, reason = "an owned descriptor stays open; the new way is unsafe code")]
        let ended = AsyncFd::new(ended)?;
        Ok(Self { leader: Some(leader), ended })
    }

    const fn exited(&self) -> Exited<'_> {
        Exited(&self.ended)
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // An error means that nobody of the group is left.
            kill_process_group(leader, signal).unwrap_or_default();
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// The leader was reaped; the number may belong to somebody else from now on.
    const fn forget(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Exited<'_> {
    async fn wait(self) {
        // An error means that the runtime is ending, and the group with it.
        drop(self.0.readable().await.map(|ready| ready.ready()));
    }

    /// Whether it came within that time.
    async fn await_for(self, time: Duration) -> bool {
        tokio::time::timeout(time, self.wait()).await.is_ok()
    }
}

const QUEUED: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Overdue answers in a row after which a silent process is ended.
const MISSED_MAX: u32 = 3;
/// Lines that wait for the writer.
const QUEUED_LINES: usize = 64;
/// Bytes of standard error that are kept for each server.
const STDERR_KEPT: usize = 16 * 1024;
/// How long the output may still be read after the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
