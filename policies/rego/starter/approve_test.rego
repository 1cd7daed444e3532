package forge.org.approve_test

import data.forge.lib.fixture_test as fixture
import data.forge.org.approve as policy

pending(subject) := object.union(fixture.input_of("approve"), {
	"subject": subject,
	"context": {"approval": {"id": "ap_1", "state": "pending", "subject": {"id": "alice@example.com"}}},
})

carol := fixture.subject("carol@example.com", ["approver"])

test_approvers_decide if {
	policy.allow with input as pending(carol)
	denied := policy.deny with input as pending(carol)
	count(denied) == 0
}

test_the_group_decides if {
	subject := object.union(fixture.subject("dan", ["reader"]), {"properties": {"groups": ["approvers"]}})
	policy.allow with input as pending(subject)
}

test_others_do_not if {
	not policy.allow with input as pending(fixture.subject("eve", ["administrator", "writer"]))
}

test_nobody_decides_what_they_asked_for if {
	every id in ["alice@example.com", "Alice@Example.com"] {
		denied := policy.deny with input as pending(fixture.subject(id, ["approver"]))
		fixture.ids(denied) == {"approve.own"}
	}
}

test_services_do_not_decide if {
	subject := object.union(carol, {"properties": {"kind": "service"}})
	denied := policy.deny with input as pending(subject)
	fixture.ids(denied) == {"approve.service"}
}
