# Which tools may the subject see? `*` stands for any text. Seeing is not using: every call is asked
# about again in forge.org.request.
package forge.org.list

import data.forge.lib.starter

grants contains "*/*" if starter.member
