# Everybody with a role sees everything.
package forge.org.list

grants contains "*/*" if count(input.subject.properties.roles) > 0
