package forge.org.request_test

import data.forge.lib.fixture_test as fixture
import data.forge.org.request as policy

writer := fixture.subject("bob@example.com", ["writer"])

test_reader_calls_a_tool_that_reads if {
	policy.allow with input as fixture.input_of("request")
}

test_reader_calls_no_tool_that_writes if {
	not policy.allow with input as fixture.request({"action": fixture.action("tools/call", false)})
}

test_writer_calls_a_tool_that_writes if {
	changes := {"subject": writer, "action": fixture.action("tools/call", false)}
	policy.allow with input as fixture.request(changes)
}

test_hints_that_nobody_gave_do_not_count if {
	changes := {"action": {"properties": {"hints_source": "none"}}}
	not policy.allow with input as fixture.request(changes)
}

test_hints_of_the_server_count if {
	changes := {"action": {"properties": {"hints_source": "server"}}}
	policy.allow with input as fixture.request(changes)
}

test_nobody_without_a_role if {
	not policy.allow with input as fixture.request({"subject": fixture.subject("eve", [])})
}

test_nobody_without_a_tenant if {
	not policy.allow with input as fixture.request({"subject": {"properties": {"tenant": ""}}})
}

test_nobody_at_the_server_of_another_tenant if {
	not policy.allow with input as fixture.request({"resource": {"properties": {"tenant": "other"}}})
}

test_a_server_without_a_tenant_is_for_everybody if {
	policy.allow with input as fixture.request({"resource": {"properties": {"tenant": ""}}})
}

test_known_methods_are_read if {
	every method in ["initialize", "ping", "server/discover", "tools/list", "resources/read"] {
		policy.allow with input as fixture.request({"action": fixture.action(method, true)})
	}
}

test_unknown_methods_are_not if {
	every method in ["tools/delete", "", "sampling/createMessage"] {
		changes := {"subject": writer, "action": fixture.action(method, true)}
		not policy.allow with input as fixture.request(changes)
	}
}

test_changed_tools_are_denied if {
	every pin in ["changed", "quarantined"] {
		denied := policy.deny with input as fixture.request({"resource": {"properties": {"pin": pin}}})
		fixture.ids(denied) == {"tool.not_trusted"}
	}
}

test_new_and_pinned_tools_are_not_denied if {
	every pin in ["new", "pinned"] {
		denied := policy.deny with input as fixture.request({"resource": {"properties": {"pin": pin}}})
		count(denied) == 0
	}
}

test_paths_that_go_up_are_denied if {
	climbing := [
		{"path": "../x"},
		{"path": "/a/../b"},
		{"path": `a\..\b`},
		{"options": {"source": "x/.."}},
		{"paths": ["ok", ".."]},
	]
	every arguments in climbing {
		denied := policy.deny with input as fixture.call(arguments)
		fixture.ids(denied) == {"path.goes_up"}
	}
}

test_other_dots_are_fine if {
	every arguments in [{"path": "/a/b..c"}, {"path": "..."}, {"text": "../x"}, {"path": 7}, {}] {
		denied := policy.deny with input as fixture.call(arguments)
		count(denied) == 0
	}
}

test_poison_in_arguments_is_denied if {
	findings := [fixture.finding("poison", "structural")]
	denied := policy.deny with input as fixture.request({"context": {"findings": findings}})
	fixture.ids(denied) == {"poison.in_arguments"}
}

test_a_suspicion_is_not_denied if {
	findings := [fixture.finding("poison", "entropy"), fixture.finding("secret", "confirmed")]
	denied := policy.deny with input as fixture.request({"context": {"findings": findings}})
	count(denied) == 0
}
