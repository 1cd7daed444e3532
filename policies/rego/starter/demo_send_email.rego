# The tool `send_email` of the server `demo`: only to our own people.
package forge.tools.demo.send_email.request

import data.forge.lib.starter

deny contains {
	"id": "email.outside",
	"msg": "the recipient is not at one of the allowed domains",
	"user_msg": "Mail may only go to addresses of your own company.",
} if {
	not inside
}

# Exactly one address, so that a second one cannot hide behind the first.
inside if {
	recipient := input.resource.properties.arguments.to
	is_string(recipient)
	regex.match(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`, recipient)
	lower(split(recipient, "@")[1]) in starter.mail_domains
}
