//! What is printed, and what is written.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::config::{self, Surroundings};

use super::ending::offers;
use super::folder::Folder;
use super::voice::{Tint, Voice, wrapped};

/// Somewhere to print to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_tool_says_cannot_paint_the_terminal() {
    let page = Page::default();
    let mut voice = Voice::to(Box::new(page.clone()));
    voice.fact("answer", &format!("\u{1b}[2K\u{202e}{}", "x".repeat(300)), Tint::Bad).unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("\\u001b[2K\\u202e") && !text.contains('\u{1b}'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

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
