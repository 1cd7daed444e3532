# The admin API of the tests: approvers see and decide, administrators see everything.
package forge.org.admin

default allow := false

allow if "administrator" in input.subject.properties.roles

allow if {
	"approver" in input.subject.properties.roles
	endswith(input.action.name, ".approvals")
}
