//! Codes of faults and warnings: stable, listed in `docs/reference/policy.md`.

pub const TOO_LARGE: &str = "policy.too_large";
pub const TOO_DEEP: &str = "policy.too_deep";
pub const SYNTAX: &str = "policy.syntax";
pub const DATA: &str = "policy.data";
pub const PACKAGE: &str = "policy.package";
pub const TEST_PACKAGE: &str = "policy.test_package";
pub const ENTRY: &str = "policy.entry";
pub const ITEM: &str = "policy.item";
pub const WITHOUT_ID: &str = "policy.item_without_id";
pub const BUILTIN: &str = "policy.forbidden_builtin";
pub const FUNCTION: &str = "policy.unknown_function";
pub const FORMAT: &str = "policy.format";
pub const VARIABLE: &str = "policy.unsafe_variable";
pub const INPUT: &str = "policy.unknown_input";
pub const REFERENCE: &str = "policy.unknown_reference";
pub const RECURSION: &str = "policy.recursion";
pub const CALL_DEPTH: &str = "policy.call_depth";
pub const LOAD: &str = "policy.load";
/// The child process that checks died or took too long: set by the gateway.
pub const CHECKER_DIED: &str = "policy.checker_died";
/// Warning: rules in a package that the host never reads.
pub const FOREIGN: &str = "policy.foreign_package";
/// Warning: a phase in which everything is refused because there is no mandatory package.
pub const CLOSED: &str = "policy.phase_closed";
/// Warning: two rules of one package with the same id; reasons show the first line.
pub const SAME_ID: &str = "policy.duplicate_id";
/// Warning: the library's second compiler sees a variable or function that does not exist.
pub const SUSPICIOUS: &str = "policy.suspicious";
