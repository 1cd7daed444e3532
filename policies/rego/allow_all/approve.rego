# Allows everything. For benchmarks and conformance runs; never for use.
package forge.org.approve

allow := true
