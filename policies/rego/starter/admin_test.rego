package forge.org.admin_test

import data.forge.lib.fixture_test as fixture
import data.forge.org.admin as policy

does(roles, action) := object.union(fixture.input_of("admin"), {
	"subject": fixture.subject("alice", roles),
	"action": fixture.action(action, false),
})

may(roles, action) if {
	policy.allow with input as does(roles, action)
	denied := policy.deny with input as does(roles, action)
	count(denied) == 0
}

test_each_role_does_its_own if {
	may(["viewer"], "list.approvals")
	may(["viewer"], "read.servers")
	may(["viewer"], "read.openapi")
	may(["approver"], "approve.approvals")
	may(["approver"], "refuse.approvals")
	may(["policy_editor"], "write.policies")
	may(["auditor"], "read.evidence")
	may(["auditor"], "export.evidence")
	may(["administrator"], "flip.switches")
}

test_and_not_the_others if {
	not may(["viewer"], "approve.approvals")
	not may(["viewer"], "read.evidence")
	not may(["approver"], "read.calls")
	not may(["policy_editor"], "flip.switches")
	not may(["auditor"], "write.policies")
	not may(["reader", "writer"], "list.approvals")
	not may([], "list.approvals")
}

test_administrators_do_not_approve if {
	denied := policy.deny with input as does(["administrator"], "approve.approvals")
	fixture.ids(denied) == {"admin.approves"}
	may(["administrator", "approver"], "approve.approvals")
}

test_the_group_approves if {
	changes := {"subject": {"properties": {"groups": ["approvers"]}}}
	denied := policy.deny with input as object.union(does(["viewer"], "deny.approvals"), changes)
	count(denied) == 0
}

test_names_are_taken_whole if {
	every action in ["approvals", "list.approvals.all", "LIST.approvals", ".", "*.*", "read. calls"] {
		not may(["administrator"], action)
		not may(["auditor"], action)
	}
}
