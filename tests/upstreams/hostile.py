"""A tool server over stdio that misbehaves as its first argument says. Standard library only.

Modes are words joined by '+': legacy (no server/discover), silent (ignores it), and one per fault.
Without a fault it is a small well-behaved server of both eras. The tool `echo` answers with its
arguments; `pid` with the process's number; faults happen on the tool `fault`.
"""
import json
import os
import signal
import subprocess
import sys
import time

MODES = set((sys.argv[1] if len(sys.argv) > 1 else "").split("+"))


def raw(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def send(message):
    raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def text(value, **more):
    return {"content": [{"type": "text", "text": value}], "isError": False, **more}


def fault(id, params, message):
    if "garbage" in MODES:
        raw(b"not json at all\n\xff\xfe{}\n[1,2]\n{\"jsonrpc\":\"2.0\"}\n\n[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]\n")
        send({"id": id, "result": text("after garbage")})
    elif "die" in MODES:
        sys.stderr.write("Traceback: secret in the trace\n")
        sys.stderr.flush()
        os._exit(7)
    elif "twice" in MODES:
        send({"id": id, "result": text("first")})
        send({"id": id, "result": text("second")})
    elif "foreign" in MODES:
        send({"id": 999999, "result": text("for somebody else")})
        send({"id": str(id), "result": text("a string is not the number")})
        send({"id": id, "result": text("mine")})
    elif "huge" in MODES:
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"content":"' % id)
        for _ in range(200):
            raw(b"x" * 1024 * 1024)
        raw(b'"}}\n')
    elif "broken" in MODES:
        send({"id": id})
    elif "mute" in MODES:
        pass
    elif "slow" in MODES:
        send({"method": "notifications/progress",
              "params": {"progressToken": params["_meta"]["progressToken"], "progress": 0}})
        time.sleep(params["arguments"]["seconds"])
        send({"id": id, "result": text("at last")})
    elif "deaf" in MODES:
        while True:
            time.sleep(60)
    elif "progress" in MODES:
        token = params["_meta"]["progressToken"]
        for done in (1, 2):
            send({"method": "notifications/progress",
                  "params": {"progressToken": token, "progress": done, "total": 2}})
        send({"method": "notifications/progress", "params": {"progressToken": "nobody's", "progress": 1}})
        send({"method": "notifications/message", "params": {"level": "info", "data": "working"}})
        send({"id": id, "result": text("done")})
    elif "ask" in MODES:
        send({"id": "q-1", "method": "sampling/createMessage", "params": {"messages": []}})
        WAITING["q-1"] = id
    elif "flood" in MODES:
        for number in range(1000):
            send({"method": "notifications/message", "params": {"level": "info", "data": "y" * 5000}})
        send({"id": id, "result": text("flooded")})


WAITING = {}
CANCELLED = []


def call(id, params, message):
    name = params.get("name")
    if name == "fault":
        fault(id, params, message)
    elif name == "pid":
        send({"id": id, "result": text(str(os.getpid()), grandchild=GRANDCHILD)})
    elif name == "environment":
        send({"id": id, "result": text(json.dumps(dict(os.environ)))})
    elif name == "seen":
        send({"id": id, "result": text(json.dumps(CANCELLED))})
    elif name == "exit":
        os._exit(0)
    else:
        send({"id": id, "result": text(json.dumps(params.get("arguments")), seen=message)})


def take(line):
    message = json.loads(line)
    method, id, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method is None:
        send({"id": WAITING.pop(id), "result": text(json.dumps(message.get("result")))})
    elif id is None:
        if method == "notifications/cancelled":
            CANCELLED.append(params.get("requestId"))
        if method == "notifications/poke":
            send({"method": "notifications/tools/list_changed"})
    elif method == "server/discover":
        if "silent" in MODES:
            return
        if "legacy" in MODES:
            send({"id": id, "error": {"code": -32601, "message": "Method not found"}})
        else:
            send({"id": id, "result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                                       "serverInfo": {"name": "hostile", "version": "1"}}})
    elif method == "initialize":
        if "early" in MODES:
            send({"method": "notifications/tools/list_changed"})
        if "refuse" in MODES:
            send({"id": id, "error": {"code": -32022, "message": "modern only"}})
        else:
            send({"id": id, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                                       "serverInfo": {"name": "hostile", "version": "1"}}})
    elif method == "tools/list":
        page = int(params.get("cursor") or 0)
        names = [["echo", "pid"], ["fault"]][page]
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
        if page == 0:
            result["nextCursor"] = "1"
        send({"id": id, "result": result})
    elif method == "tools/call":
        call(id, params, message)
    elif method == "subscriptions/listen":
        meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": id}}
        send({"method": "notifications/subscriptions/acknowledged", "params": meta})
        send({"method": "notifications/tools/list_changed", "params": meta})
        if "endless" not in MODES:
            send({"id": id, "result": meta})
    elif method == "ping":
        send({"id": id, "result": {}})
    else:
        send({"id": id, "error": {"code": -32601, "message": "Method not found"}})


GRANDCHILD = None
if "stubborn" in MODES:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    GRANDCHILD = subprocess.Popen(
        [sys.executable, "-c",
         "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"],
        stdin=subprocess.DEVNULL).pid
if "escape" in MODES:
    GRANDCHILD = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                                  stdin=subprocess.DEVNULL, start_new_session=True).pid
if "crash" in MODES:
    sys.exit(3)
if "second_crashes" in MODES:
    marker = "/tmp/hostile-%d-%d" % (os.getppid(), os.getuid())
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.unlink(marker)
        sys.exit(3)
for line in sys.stdin.buffer:
    take(line)
while "stubborn" in MODES:
    time.sleep(60)
