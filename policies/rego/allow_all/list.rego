# Shows everything. For benchmarks and conformance runs; never for use.
package forge.org.list

grants contains "*/*"
