#!/usr/bin/env python3
"""Real MCP clients through the real gateway: each connects, lists and calls with a token.

Claude Code, the Inspector's command line, the Python SDK (automatic era, and both eras by name),
the TypeScript SDK, and the stdio bridge of the gateway itself. Each is also tried without a token
and has to be turned away. Upstreams are the public npm and PyPI servers and the fixture.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tools  # noqa: E402

OUT = tools.OUT / "clients"

CONFIG = """
[listen]
mcp = "127.0.0.1:0"
admin = "127.0.0.1:0"

[auth]
mode = "local"

[policy]
bundle = "policies/"

[evidence]
path = "evidence/"

[store]
url = "sqlite://forge.db"

[servers.fixture]
url = "{fixture}"

[servers.everything]
command = ["{node}", "{everything}", "stdio"]

[servers.everything_http]
url = "http://127.0.0.1:{port}/mcp"

[servers.files]
command = ["{node}", "{filesystem}", "{files}"]

[servers.memory]
command = ["{node}", "{memory}"]
env = {{ MEMORY_FILE_PATH = "{files}/memory.jsonl" }}

[servers.git]
command = ["{venv}/mcp-server-git", "--repository", "{repository}"]

[servers.time]
command = ["{venv}/mcp-server-time", "--local-timezone", "UTC"]
"""

# server, tool, arguments, and a word of the answer
CALLS = {
    "fixture": ("greet", {"name": "Forge"}, "Hello, Forge!"),
    "everything": ("echo", {"message": "through the gateway"}, "through the gateway"),
    "everything_http": ("echo", {"message": "over HTTP"}, "over HTTP"),
    "files": ("list_directory", {"path": "{files}"}, "note.txt"),
    "memory": ("read_graph", {}, "entities"),
    "git": ("git_log", {"repo_path": "{repository}", "max_count": 1}, "first"),
    "time": ("get_current_time", {"timezone": "UTC"}, "UTC"),
}


def command(words, log, env=None, seconds=90):
    """Runs a client; everything it says goes to `log` too."""
    try:
        done = subprocess.run(
            [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=seconds, env={**os.environ, **(env or {})})
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        text, code = f"timed out after {seconds} s: {expired.output}", -1
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / f"{log}.log", "a") as file:
        file.write(f"$ {words}\n{text}\n[{code}]\n")
    return code, text


def claude_code(tally, name, url, token):
    with tempfile.TemporaryDirectory(prefix="claude-") as home:
        env = {"HOME": home, "DISABLE_AUTOUPDATER": "1",
               "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
        add = [tools.CLAUDE, "mcp", "add", "--scope", "user", "--transport", "http"]
        command(add + ["with", url, "-H", f"Authorization: Bearer {token}"], "claude", env)
        command(add + ["without", url], "claude", env)
        code, text = command([tools.CLAUDE, "mcp", "list"], "claude", env)
        lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        tally.check(code == 0 and "Connected" in lines.get("with", ""),
                    f"Claude Code connects to {name}", text)
        tally.check("Connected" not in lines.get("without", "Connected"),
                    f"Claude Code is turned away from {name} without a token", text)


def inspector(tally, name, url, token, call):
    tool, arguments, word = call
    base = [tools.NODE, tools.INSPECTOR, "--cli", url, "--transport", "http", "--format", "json"]
    bearer = ["--header", f"Authorization: Bearer {token}"]
    env = {"MCP_INSPECTOR_SECRET_STORE": "memory"}
    for era in ("legacy", "auto"):
        listing = base + bearer + ["--protocol-era", era, "--method", "tools/list"]
        code, text = command(listing, "inspector", env)
        tally.check(code == 0 and f'"{tool}"' in text, f"Inspector ({era}) lists {name}", text)
        calling = base + bearer + ["--protocol-era", era, "--method", "tools/call",
                                   "--tool-name", tool]
        for key, value in arguments.items():
            calling += ["--tool-arg", f"{key}={value}"]
        code, text = command(calling, "inspector", env)
        tally.check(code == 0 and word in text, f"Inspector ({era}) calls {name}", text)
    code, text = command(base + ["--method", "tools/list"], "inspector", env)
    tally.check(code != 0, f"Inspector is turned away from {name} without a token", text)


def script(tally, label, words, name, call):
    """A client of ours around an SDK: prints {"tools": [...], "text": "…"}."""
    tool, arguments, word = call
    code, text = command(words + [tool, json.dumps(arguments)], label.replace(" ", "-"))
    try:
        lines = [line for line in text.splitlines() if line.startswith('{"tools"')]
        answer = json.loads(lines[-1])
    except (ValueError, IndexError):
        answer = {"tools": [], "text": ""}
    tally.check(code == 0 and tool in answer["tools"], f"{label} lists {name}", text)
    tally.check(code == 0 and word in answer["text"], f"{label} calls {name}", text)


def turned_away(tally, label, words, name, call):
    code, text = command(words + [call[0], json.dumps(call[1])], label.replace(" ", "-"))
    tally.check(code != 0, f"{label} is turned away from {name} without a token", text)


def clients(tally, name, url, token, call, every):
    here = tools.HERE / "clients"
    modes = ("auto", "legacy", "2026-07-28") if name == "fixture" else ("auto",)
    for mode in modes:
        python = [tools.VENV / "python", here / "python_sdk.py", url, token, mode]
        script(tally, f"Python SDK {mode}", python, name, call)
    if not every:
        return
    typescript = [tools.NODE, here / "typescript_sdk.mjs", url]
    script(tally, "TypeScript SDK", typescript + [token], name, call)
    turned_away(tally, "Python SDK",
                [tools.VENV / "python", here / "python_sdk.py", url, "", "auto"], name, call)
    turned_away(tally, "TypeScript SDK", typescript + [""], name, call)
    claude_code(tally, name, url, token)
    inspector(tally, name, url, token, call)


def repository(folder):
    folder.mkdir()
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
                "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **identity})


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", help="base URL of a gateway that already runs: …/mcp")
    arguments.add_argument("--token", default="")
    options = arguments.parse_args()
    tally = tools.Tally()
    started = []
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        folder = pathlib.Path(folder)
        (folder / "files").mkdir()
        (folder / "files" / "note.txt").write_text("a note\n")
        repository(folder / "repository")
        places = {"files": folder / "files", "repository": folder / "repository"}
        try:
            base, token = options.url, options.token
            if base is None:
                fixture = tools.Process([tools.binary("fixture")], OUT / "fixture.log")
                started.append(fixture)
                everything = tools.Listener(
                    [tools.NODE, tools.EVERYTHING, "streamableHttp"], OUT / "everything.log",
                    {"PORT": "0"})
                started.append(everything)
                config = CONFIG.format(
                    fixture=fixture.ready["url"], port=everything.port, node=tools.NODE, everything=tools.EVERYTHING,
                    filesystem=tools.FILESYSTEM, memory=tools.MEMORY, venv=tools.VENV, **places)
                gateway = tools.Gateway(config, OUT / "gateway.log")
                started.append(gateway)
                base, token = gateway.mcp, gateway.token("alice", "developer")
            for name, (tool, given, word) in CALLS.items():
                given = {key: value.format(**places) if isinstance(value, str) else value
                         for key, value in given.items()}
                url = f"{base.rstrip('/')}/{name}"
                clients(tally, name, url, token, (tool, given, word),
                        name in ("fixture", "everything"))
        finally:
            for process in reversed(started):
                process.stop()
    tally.finish()


if __name__ == "__main__":
    main()
