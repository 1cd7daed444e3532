//! Packs that are made to hurt the verifier: it names what is wrong, and neither panics nor eats
//! all memory.

use forge_schemas::verdict::ProblemCode;

use super::sample::{Sample, append, auditor, codes, tar};
use crate::verify::{Auditor, Limits, verify};

#[test]
fn what_is_not_a_pack_gets_a_verdict() {
    let sample = Sample::new();
    for bytes in [&b""[..], b"x", &[0; 512], &[0xff; 4096], b"PK\x03\x04 not a tar"] {
        let verdict = verify(&mut &bytes[..], &auditor(&sample));
        assert!(!verdict.ok && verdict.range.is_none(), "{verdict:?}");
    }
}

#[test]
fn a_pack_that_breaks_off_anywhere_gets_a_verdict() {
    let sample = Sample::new();
    let pack = sample.pack(0, 14);
    for length in (0..pack.len() - 1024).step_by(97) {
        let verdict = verify(&mut &pack[..length], &auditor(&sample));
        assert!(!verdict.ok, "{length}");
    }
}

#[test]
fn paths_that_leave_the_folder_and_links_are_refused() {
    let sample = Sample::new();
    for path in
        ["../evil", "evidence-pack/../evil", "/etc/passwd", "other/data/x", "evidence-pack/./x"]
    {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, bytes) in sample.files(0, 14) {
            append(&mut builder, &format!("evidence-pack/{name}"), &bytes);
        }
        let mut header = ::tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(1);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let pack = builder.into_inner().unwrap();
        let verdict = verify(&mut &pack[..], &auditor(&sample));
        assert_eq!(codes(&verdict), [ProblemCode::SchemaInvalid], "{path}: {verdict:?}");
    }
    let mut builder = ::tar::Builder::new(tar(&sample.files(0, 14)));
    let mut header = ::tar::Header::new_ustar();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "evidence-pack/data/link", "/etc/passwd").unwrap();
    let mut linked = ::tar::Builder::new(Vec::new());
    linked.append_link(&mut header, "evidence-pack/data/link", "/etc/passwd").unwrap();
    let pack = linked.into_inner().unwrap();
    let verdict = verify(&mut &pack[..], &auditor(&sample));
    assert!(codes(&verdict).contains(&ProblemCode::SchemaInvalid), "{verdict:?}");
}

#[test]
fn a_file_that_stands_there_twice_is_refused() {
    let sample = Sample::new();
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in sample.files(0, 14) {
        append(&mut builder, &format!("evidence-pack/{name}"), &bytes);
    }
    append(&mut builder, "evidence-pack/data/manifest.json", b"{}");
    let pack = builder.into_inner().unwrap();
    let verdict = verify(&mut &pack[..], &auditor(&sample));
    assert_eq!(codes(&verdict), [ProblemCode::BagAltered]);
}

#[test]
fn what_exceeds_a_limit_is_refused_and_not_read() {
    let sample = Sample::new();
    let pack = sample.pack(0, 14);
    for limits in [
        Limits { files_max: 3, ..Limits::default() },
        Limits { file_bytes_max: 100, ..Limits::default() },
        Limits { total_bytes_max: 1_000, ..Limits::default() },
    ] {
        let auditor = Auditor { limits, ..auditor(&sample) };
        let verdict = verify(&mut &pack[..], &auditor);
        assert!(codes(&verdict).contains(&ProblemCode::SchemaInvalid), "{verdict:?}");
    }
    let limits = Limits { problems_max: 2, ..Limits::default() };
    let mut files = sample.files(0, 14);
    files.retain(|path, _| path == "data/manifest.json" || path.starts_with("data/records"));
    let verdict = verify(&mut &tar(&files)[..], &Auditor { limits, ..auditor(&sample) });
    assert_eq!(verdict.problems.len(), 2);
    assert!(verdict.problems[1].sentence.contains("more problems"), "{verdict:?}");
}

#[test]
fn numbers_that_are_too_large_do_not_overflow() {
    let sample = Sample::new();
    for (from, to) in [
        ("\"end\":14", "\"end\":18446744073709551615"),
        ("\"tree_size\":14", "\"tree_size\":18446744073709551615"),
        ("\"first\":0", "\"first\":14"),
        ("\"end\":14", "\"end\":100000000000000"),
    ] {
        let mut files = sample.files(0, 14);
        let bytes = files.remove("data/manifest.json").unwrap();
        let text = String::from_utf8(bytes).unwrap().replace(from, to);
        let text = if to.contains("100000000000000") {
            text.replace("\"tree_size\":14", "\"tree_size\":100000000000000")
        } else {
            text
        };
        files.insert("data/manifest.json".to_owned(), text.into_bytes());
        sample.refit(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert!(!verdict.ok, "{to}");
    }
}
