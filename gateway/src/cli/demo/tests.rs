//! What is printed, and what is written.

use std::path::Path;

use crate::config::{self, Surroundings};

use super::ending::offers;
use super::folder::Folder;
use super::voice::wrapped;

#[test]
fn lines_break_at_spaces_and_words_where_they_must() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
    assert_eq!(wrapped("", 4), [""]);
    assert!(wrapped(&"wörd ".repeat(60), 100).iter().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_written_configuration_is_one_the_gateway_takes() {
    let dir = std::env::temp_dir().join(format!("forge-demo-test-{}", crate::ids::call()));
    let folder =
        Folder::create(Some(dir.clone()), Path::new("/opt/\"odd\" name/forge-gateway")).unwrap();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let read = config::parse(&text, &folder.config(), &Surroundings::of(&dir)).unwrap();
    assert_eq!(read.servers.len(), 1);
    // A second demo may use the folder; somebody else's configuration stays as it is.
    assert!(Folder::create(Some(dir.clone()), Path::new("/x")).is_ok());
    std::fs::write(folder.config(), "[listen]\n").unwrap();
    assert!(Folder::create(Some(dir.clone()), Path::new("/x")).is_err());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn only_what_is_installed_is_offered() {
    let count = |have: &[&str]| offers(|program| have.contains(&program)).len();
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&["node"]), 0);
    assert_eq!(count(&["node", "npx", "python3", "uvx"]), 2);
    assert_eq!(count(&["python3"]), 1);
}
