# The tool `read_file` of the server `demo`: only below the workspace.
package forge.tools.demo.read_file.request

import data.forge.lib.starter

deny contains {
	"id": "read_file.outside",
	"msg": sprintf("the path is not below %s", [starter.workspace]),
	"user_msg": sprintf("Only files below %s can be read.", [starter.workspace]),
} if {
	not inside
}

inside if {
	path := input.resource.properties.arguments.path
	is_string(path)
	startswith(path, starter.workspace)
	not regex.match(`(^|/)\.\.?(/|$)|[\\%[:cntrl:]]`, path)
}
