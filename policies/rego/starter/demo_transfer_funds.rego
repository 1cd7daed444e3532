# The tool `transfer_funds` of the server `demo`: large sums need a second person.
package forge.tools.demo.transfer_funds.request

import data.forge.lib.starter

amount := input.resource.properties.arguments.amount

# Text that looks like a number is not a number: the tool might read it otherwise than we do.
deny contains {
	"id": "transfer.amount",
	"msg": "the amount is missing, not a number, or not more than zero",
	"user_msg": "The amount has to be a number greater than zero.",
} if {
	not sound
}

sound if {
	is_number(amount)
	amount > 0
}

approval contains {
	"id": "transfer.large",
	"reason": sprintf("a transfer of more than %v", [starter.transfer_limit]),
	"user_msg": "Transfers of this size wait for the approval of a second person.",
	"approvers": ["role:approver"],
	"quorum": 1,
	"ttl_s": 900,
	"execute_within_s": 300,
	"scope": "call",
	"max_uses": 1,
	"not": ["requester"],
} if {
	sound
	amount > starter.transfer_limit
}
