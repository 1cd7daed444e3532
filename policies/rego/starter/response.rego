# May what came back go on to the model? What no rule here speaks about passes. Secrets and personal
# data are taken out before by the gateway (`detect.response` in its configuration).
package forge.org.response

# Text made to steer a model is withheld: the tool ran, but the model does not read it.
deny contains {
	"id": "poison.in_result",
	"msg": "a detector is sure that the result carries instructions for a model",
	"user_msg": "The result carried hidden instructions and was withheld.",
} if {
	some finding in input.context.findings
	finding.kind == "poison"
	finding.confidence in {"confirmed", "structural"}
}

# Later rules and people can see where secrets came from.
labels["result.secrets"] := true if {
	some finding in input.context.findings
	finding.kind == "secret"
}
