# Approvers decide, but not about their own calls.
package forge.org.approve

default allow := false

allow if "approver" in input.subject.properties.roles

deny contains {"id": "test.own", "msg": "one's own call", "user_msg": "This is your own call."} if {
	input.subject.id == input.context.approval.subject.id
}
