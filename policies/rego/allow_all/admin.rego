# Allows everything. For benchmarks and conformance runs; never for use.
package forge.org.admin

allow := true
