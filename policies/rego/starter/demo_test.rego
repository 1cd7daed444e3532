package forge.tools.demo_test

import data.forge.lib.fixture_test as fixture
import data.forge.tools.demo.read_file.request as read_file
import data.forge.tools.demo.send_email.request as send_email
import data.forge.tools.demo.transfer_funds.request as transfer_funds

test_files_below_the_workspace_are_read if {
	every path in ["/workspace/notes.txt", "/workspace/a/b..c"] {
		denied := read_file.deny with input as fixture.call({"path": path})
		count(denied) == 0
	}
}

test_files_elsewhere_are_not if {
	elsewhere := [
		"/etc/passwd",
		"/workspace",
		"/workspace2/x",
		"/workspace/../etc/passwd",
		"/workspace/./x",
		`/workspace/..\x`,
		"/workspace/%2e%2e/x",
		"/workspace/a\nb",
		"workspace/x",
		7,
		null,
		["/workspace/x"],
	]
	every path in elsewhere {
		denied := read_file.deny with input as fixture.call({"path": path})
		fixture.ids(denied) == {"read_file.outside"}
	}
}

test_a_call_without_a_path_is_denied if {
	denied := read_file.deny with input as fixture.call({})
	fixture.ids(denied) == {"read_file.outside"}
}

test_mail_goes_to_our_own_people if {
	every recipient in ["bob@example.com", "b.o+b@EXAMPLE.com"] {
		denied := send_email.deny with input as fixture.call({"to": recipient})
		count(denied) == 0
	}
}

test_mail_goes_nowhere_else if {
	others := [
		"bob@evil.test",
		"bob@example.com.evil.test",
		"bob@evil.test,bob@example.com",
		"bob@example.com, eve@evil.test",
		"bob@evil.test@example.com",
		"Bob <bob@example.com>",
		"example.com",
		"",
		["bob@example.com"],
		null,
	]
	every recipient in others {
		denied := send_email.deny with input as fixture.call({"to": recipient})
		fixture.ids(denied) == {"email.outside"}
	}
}

test_mail_without_a_recipient_is_denied if {
	denied := send_email.deny with input as fixture.call({})
	fixture.ids(denied) == {"email.outside"}
}

test_small_sums_move_freely if {
	every amount in [1, 0.5, 1000] {
		arguments := {"from": "a", "to": "b", "amount": amount}
		held := transfer_funds.approval with input as fixture.call(arguments)
		denied := transfer_funds.deny with input as fixture.call(arguments)
		count(held) + count(denied) == 0
	}
}

test_large_sums_wait if {
	every amount in [1000.01, 25000, 18446744073709551615, 1e300] {
		held := transfer_funds.approval with input as fixture.call({"amount": amount})
		fixture.ids(held) == {"transfer.large"}
		some item in held
		item.not == ["requester"]
		item.approvers == ["role:approver"]
	}
}

test_what_is_no_amount_is_denied if {
	every amount in [0, -1, "5000", null, [5000], {"value": 1}] {
		denied := transfer_funds.deny with input as fixture.call({"amount": amount})
		held := transfer_funds.approval with input as fixture.call({"amount": amount})
		fixture.ids(denied) == {"transfer.amount"}
		count(held) == 0
	}
}

test_no_amount_is_denied if {
	denied := transfer_funds.deny with input as fixture.call({})
	fixture.ids(denied) == {"transfer.amount"}
}
