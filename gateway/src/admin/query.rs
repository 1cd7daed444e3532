//! Query parameters, read strictly: a misspelt filter that were ignored would show too much.

use std::collections::BTreeMap;

use super::AdminError;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads `text`, the part behind the question mark. Only parameters in `known` may be there,
    /// each once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, AdminError> {
        let wrong = || AdminError::invalid("The query cannot be read.");
        let url = reqwest::Url::parse(&format!("http://query/?{text}")).map_err(|_form| wrong())?;
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if !known.contains(&name.as_ref()) {
                let offered = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(AdminError::invalid(format!(
                    "The query has a parameter that is not known here. Known: {offered}."
                )));
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(AdminError::invalid("A parameter of the query is there twice."));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of `name`, read by `read`.
    ///
    /// # Errors
    /// If it is there and `read` makes nothing of it; `wanted` says what would do.
    pub(super) fn get<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, AdminError> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(AdminError::invalid(format!("The parameter {name} has to be {wanted}."))),
        }
    }

    /// The text of `name`.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// `limit`: how many items are wanted, from 1 to `most`; `most` if nothing is said.
    ///
    /// # Errors
    /// If it is no such number.
    pub(super) fn limit(&mut self, most: u32) -> Result<u32, AdminError> {
        let wanted = format!("a number from 1 to {most}");
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=most).contains(limit));
        Ok(self.get("limit", &wanted, read)?.unwrap_or(most))
    }
}

/// A word of a closed set, as JSON spells it.
pub(super) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
