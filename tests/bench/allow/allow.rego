# The smallest policy there is: every call is allowed.
package forge.org.request

allow := true
