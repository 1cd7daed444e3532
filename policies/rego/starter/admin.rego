# May this person do this in the admin API? Actions are called `verb.resource`.
package forge.org.admin

import data.forge.lib.starter

default allow := false

# What each role may do. `*` stands for any verb or any resource.
rights := {
	"viewer": {
		"list.approvals",
		"list.calls",
		"list.servers",
		"list.sessions",
		"list.tools",
		"read.approvals",
		"read.calls",
		"read.health",
		"read.openapi",
		"read.servers",
		"read.sessions",
		"read.tools",
	},
	"approver": {
		"approve.approvals",
		"deny.approvals",
		"list.approvals",
		"read.approvals",
		"read.health",
		"read.openapi",
		"refuse.approvals",
	},
	"policy_editor": {
		"*.policies",
		"list.calls",
		"list.tools",
		"pin.tools",
		"read.calls",
		"read.health",
		"read.openapi",
		"read.tools",
	},
	"auditor": {
		"export.evidence",
		"list.*",
		"query.evidence",
		"read.*",
		"verify.evidence",
	},
	"administrator": {"*.*"},
}

allow if {
	starter.member
	regex.match(`^[a-z_]+\.[a-z_]+$`, input.action.name)
	some role in input.subject.properties.roles
	some right in rights[role]
	fits(right, input.action.name)
}

fits(right, action) if right == action

fits(right, _) if right == "*.*"

fits(right, action) if {
	startswith(right, "*.")
	endswith(action, trim_prefix(right, "*"))
}

fits(right, action) if {
	endswith(right, ".*")
	startswith(action, trim_suffix(right, "*"))
}

# Who runs the gateway does not approve by that alone.
deny contains {
	"id": "admin.approves",
	"msg": "approving needs the role approver",
	"user_msg": "Approving needs the role approver.",
} if {
	input.action.name in {"approve.approvals", "deny.approvals", "refuse.approvals"}
	not starter.has_role("approver")
	not "approvers" in input.subject.properties.groups
}
