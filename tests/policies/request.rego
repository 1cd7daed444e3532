# Rules for the tool servers of the tests: everybody with a role may do everything, except that …
package forge.org.request

default allow := false

allow if count(input.subject.properties.roles) > 0

# … `remove` refuses one argument,
deny contains {
	"id": "test.remove",
	"msg": "the text is protected",
	"user_msg": "This text is protected.",
} if {
	input.resource.properties.tool == "remove"
	contains(input.resource.properties.arguments.text, "protected")
}

# … and `append_held` waits for somebody else.
approval contains {
	"id": "test.held",
	"approvers": ["role:approver"],
	"quorum": 1,
	"ttl_s": 120,
	"execute_within_s": 60,
	"not": ["requester"],
} if {
	input.action.name == "tools/call"
	input.resource.properties.tool == "append_held"
}
