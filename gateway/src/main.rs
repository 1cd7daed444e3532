//! `forge-gateway`: parse, run, exit code.

fn main() {}
