package forge.org.list_test

import data.forge.lib.fixture_test as fixture
import data.forge.org.list as policy

test_members_see_tools if {
	shown := policy.grants with input as fixture.input_of("list")
	shown == {"*/*"}
}

test_others_see_nothing if {
	nobody := object.union(fixture.input_of("list"), {"subject": fixture.subject("eve", [])})
	shown := policy.grants with input as nobody
	count(shown) == 0
}
