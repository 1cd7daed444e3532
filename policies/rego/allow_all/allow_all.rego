# Allows every message. For benchmarks and conformance runs; never for use.
package forge.org.request

allow := true
