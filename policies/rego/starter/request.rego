# May this message go to the tool server? Nothing is allowed that no rule here allows.
# What may go to one tool in particular is in the files demo_*.rego.
package forge.org.request

import data.forge.lib.starter

default allow := false

# Methods with which a client finds out and reads what there is. A method that is not in this list
# (or is `tools/call`, see below) does not go through: also those that MCP will have next year.
reading := {
	"client/response",
	"completion/complete",
	"elicitation/create",
	"initialize",
	"logging/setLevel",
	"notifications/cancelled",
	"notifications/elicitation/complete",
	"notifications/initialized",
	"notifications/progress",
	"notifications/roots/list_changed",
	"ping",
	"prompts/get",
	"prompts/list",
	"resources/list",
	"resources/read",
	"resources/subscribe",
	"resources/templates/list",
	"resources/unsubscribe",
	"roots/list",
	"server/discover",
	"session/close",
	"session/listen",
	"subscriptions/listen",
	"tasks/cancel",
	"tasks/get",
	"tasks/list",
	"tasks/result",
	"tasks/update",
	"tools/list",
}

allow if {
	starter.member
	starter.own_server
	input.action.name in reading
}

# Everybody with a role may call tools that only read.
allow if {
	starter.member
	starter.own_server
	input.action.name == "tools/call"
	starter.reads
}

# Writers may call the others too.
allow if {
	starter.member
	starter.own_server
	input.action.name == "tools/call"
	starter.has_role("writer")
}

# A tool whose definition changed is not the tool that somebody looked at.
deny contains {
	"id": "tool.not_trusted",
	"msg": sprintf("the definition of %s is %s", [input.resource.id, input.resource.properties.pin]),
	"user_msg": "This tool is not available until somebody has looked at its new definition.",
} if {
	input.action.name == "tools/call"
	input.resource.properties.pin in {"changed", "quarantined"}
}

# No path goes up, whatever the tool and however deep in the arguments.
deny contains {
	"id": "path.goes_up",
	"msg": "a path in the arguments has a part ..",
	"user_msg": "Paths may not contain \"..\". Use a path below the folder you may read.",
} if {
	input.action.name == "tools/call"
	walk(input.resource.properties.arguments, [place, value])
	count(place) > 0
	place[count(place) - 1] in {"path", "paths", "file", "filename", "source", "destination", "directory"}
	some text in texts(value)
	some part in regex.split(`[/\\]`, text)
	part == ".."
}

texts(value) := {value} if is_string(value)

texts(value) := {item | some item in value; is_string(item)} if is_array(value)

# Instructions hidden in the arguments do not go to a tool.
deny contains {
	"id": "poison.in_arguments",
	"msg": "a detector is sure that the arguments carry instructions for a model",
	"user_msg": "The arguments carry hidden instructions. Remove them.",
} if {
	some finding in input.context.findings
	finding.kind == "poison"
	finding.confidence in {"confirmed", "structural"}
}
