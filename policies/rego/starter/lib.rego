# Words that several packages share. Change them here, once.
package forge.lib.starter

# A person or service of a tenant to whom somebody gave at least one role.
member if {
	input.subject.properties.tenant != ""
	count(input.subject.properties.roles) > 0
}

has_role(role) if role in input.subject.properties.roles

# The server belongs to the subject's tenant, or to nobody in particular.
own_server if input.resource.properties.tenant == input.subject.properties.tenant

own_server if input.resource.properties.tenant == ""

# A tool that says it changes nothing, and whose definition nobody changed since it was looked at.
# Where `hints_source` is "server" this is the server's own claim; servers are configured by you.
# For people whom you do not trust that far, ask for `hints_source == "catalog"`.
reads if {
	input.action.properties.read_only == true
	input.action.properties.hints_source in {"catalog", "server"}
}

# Mail may go to these domains.
mail_domains := {"example.com"}

# Money may be moved up to this amount without asking anybody.
transfer_limit := 1000

# Files may be read below this folder.
workspace := "/workspace/"
