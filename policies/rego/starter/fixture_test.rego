# Inputs that the tests start from: complete, as the gateway always makes them.
package forge.lib.fixture_test

input_of(phase) := {
	"v": 1,
	"phase": phase,
	"subject": subject("alice@example.com", ["reader"]),
	"action": action("tools/call", true),
	"resource": {
		"type": "tool",
		"id": "demo/add",
		"properties": {
			"server": "demo",
			"tool": "add",
			"tenant": "acme",
			"region": "",
			"trust": "verified",
			"tags": [],
			"schema_digest": "",
			"pin": "pinned",
			"data_class": "",
			"arguments": {},
			"arguments_digest": "",
			"arguments_bytes": 2,
		},
	},
	"context": {
		"agent": "",
		"client": {"name": "", "version": "", "protocol": "2026-07-28"},
		"session": {"id": "", "age_s": 0, "taint": [], "calls": 0},
		"request": {"id": "", "ip": "", "transport": "http", "trace_id": ""},
		"time": {"epoch_ms": 0, "rfc3339": "", "weekday": "", "minute_of_day": 0, "tz": "UTC"},
		"findings": [],
		"counters": {
			"principal_tool_1m": 0,
			"principal_tool_1h": 0,
			"denied_1h": 0,
			"cost_24h": 0,
			"budget_left": 0,
		},
		"approval": null,
		"grants": [],
		"env": {"name": "", "region": "", "gateway": "", "kill": []},
		"upstream": {"circuit": "closed"},
	},
	"result": null,
}

subject(id, roles) := {
	"type": "identity",
	"id": id,
	"properties": {
		"kind": "user",
		"tenant": "acme",
		"roles": roles,
		"groups": [],
		"claims": {"iss": "", "aud": "", "scope": [], "acr": "", "amr": []},
		"act": null,
	},
}

action(name, read_only) := {
	"name": name,
	"properties": {
		"read_only": read_only,
		"destructive": false,
		"idempotent": false,
		"open_world": false,
		"hints_source": "catalog",
	},
}

# A request, with some members changed.
request(changes) := object.union(input_of("request"), changes)

# A call of a tool with arguments.
call(arguments) := request({"resource": {"properties": {"arguments": arguments}}})

finding(kind, confidence) := {
	"rule": "r",
	"kind": kind,
	"entity": "E",
	"confidence": confidence,
	"pointer": "/arguments/x",
}

ids(items) := {item.id | some item in items}
