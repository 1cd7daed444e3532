//! Bundles that come with the gateway.

use crate::bundle::{Bundle, Source};

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../rego/", $folder, "/", $name)))),+]
    };
}

/// The starter bundle: what `init` writes and `demo` runs.
#[must_use]
pub fn starter() -> Bundle {
    made(&files!("starter":
        ".manifest", "admin.rego", "admin_test.rego", "approve.rego", "approve_test.rego",
        "demo_read_file.rego", "demo_send_email.rego", "demo_test.rego",
        "demo_transfer_funds.rego", "fixture_test.rego", "lib.rego", "list.rego", "list_test.rego", "request.rego",
        "request_test.rego", "response.rego", "response_test.rego",
    ))
}

/// Allows everything and shows everything: for benchmarks and conformance runs, never for use.
#[must_use]
pub fn allow_all() -> Bundle {
    made(
        &files!("allow_all": ".manifest", "allow_all.rego", "admin.rego", "approve.rego", "list.rego"),
    )
}

#[expect(clippy::expect_used, reason = "the files are compiled in, and a test loads both bundles")]
fn made(files: &[(&str, &str)]) -> Bundle {
    let source =
        |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
    Bundle::new(files.iter().map(source).collect()).expect("embedded bundle")
}
