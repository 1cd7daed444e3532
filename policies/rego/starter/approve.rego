# May this person decide this approval? `input.subject` is the approver; `input.context.approval` is
# the request. That the approver is one of those whom the request names, and not the requester, is
# checked by the gateway too; a rule that is written twice is harder to lose.
package forge.org.approve

import data.forge.lib.starter

default allow := false

allow if {
	starter.member
	entitled
}

entitled if starter.has_role("approver")

entitled if "approvers" in input.subject.properties.groups

deny contains {
	"id": "approve.own",
	"msg": "requester and approver are the same person",
	"user_msg": "You cannot decide a request of your own.",
} if {
	lower(input.subject.id) == lower(input.context.approval.subject.id)
}

deny contains {
	"id": "approve.service",
	"msg": "only people approve",
	"user_msg": "A service cannot approve.",
} if {
	input.subject.properties.kind == "service"
}
