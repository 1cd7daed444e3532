//! The tool server `demo`: a small bank's back office over stdio, for the story of `demo`.
//!
//! It speaks both eras of MCP as rmcp does (2026-07-28 `server/discover`, and `initialize` of older
//! revisions). Customers, files and ledger are made up and live in memory, in one process: there is
//! nothing to set up and nothing to clean. It governs nothing; that is the gateway's part. The API
//! key in a customer's record has a real vendor's format and a right checksum, so that a detector
//! has something to find; it is put together at run time and opens nothing.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::transport::stdio;
use rmcp::{ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Serves on stdin and stdout until stdin ends.
///
/// # Errors
/// If the client breaks off during the handshake or the server's task dies.
pub async fn run() -> anyhow::Result<u8> {
    let server = DemoServer::default().serve(stdio()).await;
    server.context("the handshake failed")?.waiting().await.context("the server died")?;
    Ok(0)
}

/// The server; its clones share one ledger.
#[derive(Clone, Debug, Default)]
struct DemoServer {
    ledger: Arc<Mutex<Vec<Transfer>>>,
}

#[derive(Deserialize, JsonSchema)]
struct CustomerQuery {
    /// Customer number, for instance C-1001
    id: String,
}

#[derive(Serialize, JsonSchema)]
struct Customer {
    id: String,
    name: String,
    plan: String,
    email: String,
    phone: String,
    card: String,
    ssn: String,
    /// A note that somebody left in the customer's record
    note: String,
}

#[derive(Deserialize, JsonSchema)]
struct Summands {
    a: f64,
    b: f64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: f64,
}

#[derive(Deserialize, JsonSchema)]
struct FileQuery {
    /// Absolute path below /workspace/
    path: String,
}

#[derive(Serialize, JsonSchema)]
struct FileContent {
    path: String,
    text: String,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
struct Transfer {
    /// Account that pays
    from: String,
    /// Account that receives
    to: String,
    /// Amount in euros
    amount: f64,
}

#[derive(Serialize, JsonSchema)]
struct Receipt {
    /// How many transfers this server has made, this one included
    execution: usize,
    transfer: Transfer,
}

#[derive(Serialize, JsonSchema)]
struct Ledger {
    /// How many transfers were made
    executions: usize,
    /// All of them, oldest first
    transfers: Vec<Transfer>,
}

#[derive(Deserialize, JsonSchema)]
struct Mail {
    /// Address of the recipient
    to: String,
    subject: String,
    body: String,
}

#[derive(Serialize, JsonSchema)]
struct Sent {
    to: String,
    /// Length of subject and body in bytes
    bytes: usize,
}

#[tool_router]
impl DemoServer {
    #[tool(
        title = "Look up a customer",
        description = "Everything that is on file about a customer",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn lookup_customer(
        &self,
        Parameters(CustomerQuery { id }): Parameters<CustomerQuery>,
    ) -> Result<Json<Customer>, String> {
        customer(&id).map(Json).ok_or_else(|| format!("there is no customer {id}; try C-1001"))
    }

    #[tool(
        title = "Add two numbers",
        description = "The sum of a and b",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn add(&self, Parameters(Summands { a, b }): Parameters<Summands>) -> Json<Sum> {
        Json(Sum { sum: a + b })
    }

    #[tool(
        title = "Read a file",
        description = "The text of a file of the workspace",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn read_file(
        &self,
        Parameters(FileQuery { path }): Parameters<FileQuery>,
    ) -> Result<Json<FileContent>, String> {
        let found = FILES.iter().find(|(name, _)| *name == path);
        let (_, text) = found.ok_or_else(|| {
            let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
            format!("there is no file {path}; there are {}", names.join(", "))
        })?;
        Ok(Json(FileContent { path, text: (*text).to_owned() }))
    }

    #[tool(
        title = "Transfer funds",
        description = "Moves money from one account to another. Cannot be undone",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn transfer_funds(&self, Parameters(transfer): Parameters<Transfer>) -> Json<Receipt> {
        // A list of plain values: a panic elsewhere cannot have left it half changed.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.push(transfer.clone());
        Json(Receipt { execution: ledger.len(), transfer })
    }

    #[tool(
        title = "Show the ledger",
        description = "The transfers that this server has made",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn ledger(&self) -> Json<Ledger> {
        let transfers = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Json(Ledger { executions: transfers.len(), transfers })
    }

    #[tool(
        title = "Send an e-mail",
        description = "Sends a mail (the demo only counts its bytes)",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn send_email(
        &self,
        Parameters(Mail { to, subject, body }): Parameters<Mail>,
    ) -> Json<Sent> {
        Json(Sent { to, bytes: subject.len().saturating_add(body.len()) })
    }
}

#[tool_handler(
    name = "forge-demo",
    version = "1.0.0",
    instructions = "A made-up back office: customers, files, transfers, mail."
)]
impl ServerHandler for DemoServer {}

/// A made-up person whose data have the forms that detectors know.
fn customer(id: &str) -> Option<Customer> {
    let (name, email, plan) = match id {
        "C-1001" => ("Ada Winter", "ada.winter@example.net", "business"),
        "C-1002" => ("Grace Summer", "grace.summer@example.net", "private"),
        _ => return None,
    };
    Some(Customer {
        id: id.to_owned(),
        name: name.to_owned(),
        plan: plan.to_owned(),
        email: email.to_owned(),
        phone: "+44 20 7946 0123".to_owned(),
        // The number that card schemes print on their test cards; its Luhn digit is right.
        card: "4111 1111 1111 1111".to_owned(),
        ssn: ["219", "46", "8317"].join("-"),
        note: format!("asked us to rotate the deploy key {} of their shop", api_key()),
    })
}

/// What must not come through a gateway unchanged, of customer C-1001: what it is, and its value.
pub(crate) fn sensitive() -> Vec<(&'static str, String)> {
    let Some(customer) = customer("C-1001") else { return Vec::new() };
    vec![
        ("e-mail address", customer.email),
        ("phone number", customer.phone),
        ("card number", customer.card),
        ("social security number", customer.ssn),
        ("API key", api_key()),
    ]
}

/// A token in the format of a GitHub personal access token: 30 characters and their CRC-32 as six
/// base-62 digits. Not written out, so that a scanner of this source has nothing to find.
fn api_key() -> String {
    let body = ["Vt3Q9mZx7L", "c2Rk8Hq5Wn", "D4sYb6JpGa"].concat();
    let digits = base62(crc32fast::hash(body.as_bytes()));
    ["gh", "p_", &body, &digits].concat()
}

/// Six base-62 digits, padded with `0`.
fn base62(mut number: u32) -> String {
    let mut digits = ['0'; 6];
    for digit in digits.iter_mut().rev() {
        let place = usize::try_from(number % 62).unwrap_or_default();
        *digit = BASE62.chars().nth(place).unwrap_or('0');
        number /= 62;
    }
    digits.iter().collect()
}

const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const FILES: &[(&str, &str)] = &[
    ("/workspace/notes.txt", "Quarterly review is on Thursday. Bring the transfer report.\n"),
    ("/workspace/reports/transfers.csv", "date,from,to,amount\n2026-07-01,ops,rent,900\n"),
    ("/workspace/README.md", "# Workspace\n\nWhat the assistant may read.\n"),
];
