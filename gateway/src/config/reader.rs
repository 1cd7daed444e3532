//! Reads a TOML table by hand, so that every fault is reported at once: file, path, value seen,
//! value wanted. What nobody asked for is an unknown key.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::{Table, Value};

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Dotted path of the key.
    pub path: String,
    /// What stands there.
    pub seen: String,
    /// What should.
    pub wanted: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, path, seen, wanted } = self;
        write!(f, "{}: {path}: {seen}; wanted {wanted}", file.display())
    }
}

/// Where faults are gathered.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    file: PathBuf,
    list: Rc<RefCell<Vec<Fault>>>,
}

impl Faults {
    /// An empty list for one file.
    #[must_use]
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), list: Rc::default() }
    }

    /// Adds one.
    pub(super) fn add(&self, path: &str, seen: impl Into<String>, wanted: impl Into<String>) {
        let (seen, wanted) = (seen.into(), wanted.into());
        self.list.borrow_mut().push(Fault {
            file: self.file.clone(),
            path: path.to_owned(),
            seen,
            wanted,
        });
    }

    /// All that were added, in reading order.
    #[must_use]
    pub(super) fn take(&self) -> Vec<Fault> {
        self.list.take()
    }
}

/// A table that is being read: each key may be asked for once.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    faults: Faults,
}

impl Section {
    /// The whole file.
    #[must_use]
    pub(super) fn root(table: Table, faults: &Faults) -> Self {
        Self { path: String::new(), table, known: Vec::new(), faults: faults.clone() }
    }

    /// Dotted path of a key of this table.
    #[must_use]
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a fault at a key.
    pub(super) fn fault(&self, key: &str, seen: impl Into<String>, wanted: impl Into<String>) {
        self.faults.add(&self.at(key), seen, wanted);
    }

    /// Reports a fault at a path of the caller's choice.
    pub(super) fn report(&self, path: &str, seen: impl Into<String>, wanted: impl Into<String>) {
        self.faults.add(path, seen, wanted);
    }

    /// The table's own path.
    #[must_use]
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let typed = read(&value);
        if typed.is_none() {
            self.fault(key, seen(&value), wanted);
        }
        typed
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// An integer between two bounds.
    pub(super) fn number(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        self.typed(key, &format!("an integer from {least} to {most}"), |value| {
            let number = u64::try_from(value.as_integer()?).ok()?;
            (least..=most).contains(&number).then_some(number)
        })
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.typed(key, "a list of strings", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let wanted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.typed(key, &wanted.join(" or "), |value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })
    }

    /// Text that is parsed further.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.typed(key, wanted, |value| parse(value.as_str()?))
    }

    /// A table; an empty one if it is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        self.maybe_table(key).unwrap_or_else(|| self.child(key, Table::new()))
    }

    /// A table, if it is there.
    pub(super) fn maybe_table(&mut self, key: &'static str) -> Option<Self> {
        let table = self.typed(key, "a table", |value| value.as_table().cloned())?;
        Some(self.child(key, table))
    }

    /// A list of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let list = self.typed(key, "a list of tables", |value| {
            value
                .as_array()?
                .iter()
                .map(|item| item.as_table().cloned())
                .collect::<Option<Vec<_>>>()
        });
        let list = list.unwrap_or_default();
        list.into_iter()
            .enumerate()
            .map(|(at, table)| self.child(&format!("{key}[{at}]"), table))
            .collect()
    }

    /// Every member as a table of its own: a table whose keys are names.
    pub(super) fn named_tables(mut self) -> Vec<(String, Self)> {
        let members = std::mem::take(&mut self.table);
        let mut sections = Vec::new();
        for (name, value) in members {
            match value {
                Value::Table(table) => sections.push((name.clone(), self.child(&name, table))),
                other @ (Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)) => self.fault(&name, seen(&other), "a table"),
            }
        }
        sections
    }

    /// Every member as a string: a table whose keys are names.
    pub(super) fn named_texts(mut self) -> Vec<(String, String)> {
        let members = std::mem::take(&mut self.table);
        let mut texts = Vec::new();
        for (name, value) in members {
            match value.as_str() {
                Some(text) => texts.push((name, text.to_owned())),
                None => self.fault(&name, seen(&value), "a string"),
            }
        }
        texts
    }

    fn child(&self, key: &str, table: Table) -> Self {
        Self { path: self.at(key), table, known: Vec::new(), faults: self.faults.clone() }
    }

    /// True if the key is there and was not read yet.
    #[must_use]
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Ends the reading: what is left is unknown.
    pub(super) fn end(self) {
        let known =
            if self.known.is_empty() { "nothing".to_owned() } else { self.known.join(", ") };
        for key in self.table.keys() {
            self.fault(key, "an unknown key", format!("one of {known}"));
        }
    }
}

/// A value as people see it, cut: configuration never holds secrets, but it may hold long texts.
fn seen(value: &Value) -> String {
    let text: String = value.to_string().chars().take(60).collect();
    format!("saw {text}")
}
