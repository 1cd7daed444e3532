package forge.org.response_test

import data.forge.lib.fixture_test as fixture
import data.forge.org.response as policy

response(findings) := object.union(fixture.input_of("response"), {"context": {"findings": findings}})

test_nothing_found_passes if {
	denied := policy.deny with input as response([])
	count(denied) == 0
}

test_poison_is_withheld if {
	denied := policy.deny with input as response([fixture.finding("poison", "confirmed")])
	fixture.ids(denied) == {"poison.in_result"}
}

test_a_suspicion_passes if {
	denied := policy.deny with input as response([fixture.finding("poison", "contextual")])
	count(denied) == 0
}

test_secrets_leave_a_label if {
	labels := policy.labels with input as response([fixture.finding("secret", "confirmed")])
	labels == {"result.secrets": true}
}

test_personal_data_leaves_none if {
	labels := policy.labels with input as response([fixture.finding("pii", "confirmed")])
	labels == {}
}
