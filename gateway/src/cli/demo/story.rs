//! The steps of the story. Each one sends a call, looks at the answer and at the record of it, and
//! fails if either is not what is told.

use std::collections::BTreeSet;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::mcp::demo_client::{self, Called, DemoClient};
use crate::mcp::demo_server;
use crate::serve::{self, Running};

use super::super::api::{AdminApi, ApiError};
use super::folder::{Folder, People};
use super::proof;
use super::voice::{Tint, Voice};

/// The story so far.
pub(super) struct Story<'a> {
    voice: &'a mut Voice,
    running: &'a Running,
    folder: &'a Folder,
    people: &'a People,
    alice: DemoClient,
    bob: AdminApi,
    told: BTreeSet<String>,
}

/// What bob does about a held call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Approve,
    Deny,
}

impl<'a> Story<'a> {
    /// Connects both people and says where everything is.
    pub(super) async fn begin(
        voice: &'a mut Voice,
        running: &'a Running,
        folder: &'a Folder,
        people: &'a People,
    ) -> anyhow::Result<Self> {
        let http = serve::http_client()?;
        let url = format!("{}/demo", running.mcp_url());
        let alice = demo_client::connect(http.clone(), &url, &people.alice, "forge-demo").await?;
        let bob = AdminApi::new(http, &running.admin_url(), &people.bob)?;
        let tools = alice.list().await?;
        let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        names.sort_unstable();
        ensure!(names.contains(&"transfer_funds"), "the demo server offers {names:?}");
        let protocol = alice.protocol();
        voice.heading("FORGE MCP Gateway: six things that happen to a call")?;
        voice.fact("folder", &folder.dir().display().to_string(), Tint::Plain)?;
        voice.fact("gateway", &format!("{url}, speaking MCP {protocol}"), Tint::Plain)?;
        voice.fact(
            "tool server",
            &format!("a child process over stdio: {}", names.join(", ")),
            Tint::Plain,
        )?;
        voice.fact("alice", "works with an AI client (role writer)", Tint::Plain)?;
        voice.fact(
            "bob",
            "decides about held calls and reads the records (approver, auditor)",
            Tint::Plain,
        )?;
        Ok(Self { voice, running, folder, people, alice, bob, told: BTreeSet::new() })
    }

    /// 1: nothing speaks against it.
    pub(super) async fn allowed(&mut self) -> anyhow::Result<()> {
        self.voice.heading("1  A call that policy allows")?;
        let called = self.call("add", json!({ "a": 2, "b": 40 })).await?;
        let sum = called.structured.as_ref().and_then(|value| value.get("sum")?.as_f64());
        ensure!(!called.is_error && sum == Some(42.0), "add did not answer 42: {}", called.text);
        self.voice.fact("answer", &called.text, Tint::Good)?;
        let row = self.row("add").await?;
        ensure!(text(&row, "effect") == "allow", "add was not allowed but {}", row);
        self.decision(&row, Tint::Good)
    }

    /// 2: a rule about the arguments.
    pub(super) async fn denied(&mut self) -> anyhow::Result<()> {
        self.voice.heading("2  A call that a rule about its arguments denies")?;
        let called = self.call("read_file", json!({ "path": "/etc/passwd" })).await?;
        let code = called.refusal("code");
        ensure!(
            called.is_error && code == "policy.denied",
            "read_file was not denied: {}",
            called.text
        );
        self.voice.fact("answer", &called.text, Tint::Bad)?;
        let row = self.row("read_file").await?;
        ensure!(text(&row, "effect") == "deny", "read_file was not denied but {row}");
        ensure!(fired(&row, "read_file.outside"), "read_file.outside did not fire: {row}");
        ensure!(text(&row, "call") == called.refusal("call_id"), "the refusal names another call");
        self.decision(&row, Tint::Bad)?;
        self.voice.fact("so", "the tool server never saw this call", Tint::Plain)?;
        Ok(())
    }

    /// 3: what came back is not passed on as it is.
    pub(super) async fn redacted(&mut self) -> anyhow::Result<()> {
        self.voice.heading("3  A result with personal data and a key, redacted on its way back")?;
        let called = self.call("lookup_customer", json!({ "id": "C-1001" })).await?;
        ensure!(!called.is_error, "lookup_customer failed: {}", called.text);
        let structured = called.structured.clone().unwrap_or_default();
        let name = structured.get("name").and_then(Value::as_str);
        ensure!(
            name == Some("Ada Winter"),
            "the harmless part of the result is gone: {structured}"
        );
        let both = format!("{} {structured}", called.text);
        for (what, value) in demo_server::sensitive() {
            ensure!(!both.contains(&value), "the {what} came through");
        }
        self.voice.fact("answer", &called.text, Tint::Held)?;
        let row = self.row("lookup_customer").await?;
        let findings = row.get("response_findings").and_then(Value::as_u64).unwrap_or_default();
        ensure!(findings >= 5, "only {findings} findings are on record");
        self.decision(&row, Tint::Good)?;
        let said =
            format!("{findings} findings in the result; their values are in no record and no log");
        self.voice.fact("so", &said, Tint::Plain)?;
        Ok(())
    }

    /// 4: held, approved by somebody else, executed once.
    pub(super) async fn approved(&mut self) -> anyhow::Result<()> {
        self.voice.heading("4  A call that waits for a second person, who approves it")?;
        let arguments = json!({ "from": "operations", "to": "supplier-17", "amount": 2500 });
        let (called, approval) = self.held(arguments, Verdict::Approve).await?;
        let execution =
            called.structured.as_ref().and_then(|value| value.get("execution")?.as_u64());
        ensure!(
            !called.is_error && execution == Some(1),
            "the approved transfer failed: {}",
            called.text
        );
        self.voice.fact("answer", &called.text, Tint::Good)?;
        let row = self.row("transfer_funds").await?;
        ensure!(text(&row, "effect") == "require_approval", "the transfer was not held but {row}");
        ensure!(
            text(&row, "approval") == text(&approval, "id"),
            "another approval was used: {row}"
        );
        self.decision(&row, Tint::Held)?;
        let again = self.vote(&approval, Verdict::Approve).await;
        ensure!(matches!(again, Err(ApiError::Refused { .. })), "an approval could be given twice");
        let executed = self.executions().await?;
        ensure!(executed == 1, "the ledger shows {executed} transfers");
        self.voice.fact("so", "the ledger shows 1 transfer: executed exactly once", Tint::Plain)?;
        Ok(())
    }

    /// 5: held, refused.
    pub(super) async fn refused(&mut self) -> anyhow::Result<()> {
        self.voice.heading("5  A call whose approval is refused")?;
        let arguments = json!({ "from": "operations", "to": "unknown-account", "amount": 90_000 });
        let (called, _approval) = self.held(arguments, Verdict::Deny).await?;
        let code = called.refusal("code");
        ensure!(
            called.is_error && code == "approval.denied",
            "the refused transfer: {}",
            called.text
        );
        self.voice.fact("answer", &called.text, Tint::Bad)?;
        let row = self.row("transfer_funds").await?;
        ensure!(text(&row, "refusal") == "approval.denied", "the record says otherwise: {row}");
        self.decision(&row, Tint::Bad)?;
        let executed = self.executions().await?;
        ensure!(executed == 1, "the ledger shows {executed} transfers");
        self.voice.fact("so", "the ledger still shows 1 transfer", Tint::Plain)?;
        Ok(())
    }

    /// 6: evidence that needs no gateway.
    pub(super) async fn proven(&mut self) -> anyhow::Result<()> {
        self.voice.heading("6  The evidence, exported and verified offline")?;
        let proof = proof::export_and_verify(self.running, self.folder).await?;
        self.voice.fact("pack", &proof.pack.display().to_string(), Tint::Plain)?;
        self.voice.fact(
            "key",
            &format!("{} (given separately)", proof.key.display()),
            Tint::Plain,
        )?;
        let verdict = &proof.verdict;
        let problems: Vec<&str> =
            verdict.problems.iter().map(|one| one.sentence.as_str()).collect();
        ensure!(
            verdict.ok && verdict.complete,
            "the pack does not verify: {}",
            problems.join("; ")
        );
        let said = format!(
            "ok: {} records, complete, {} calls without an outcome",
            verdict.records, verdict.open_slots
        );
        self.voice.fact("verdict", &said, Tint::Good)?;
        Ok(())
    }

    /// Closes alice's connection.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.alice.close().await
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> anyhow::Result<Called> {
        self.voice.fact("alice calls", &format!("{tool} {arguments}"), Tint::Plain)?;
        self.alice.call(tool, object(arguments)).await
    }

    /// Calls `transfer_funds` while bob decides on a thread of his own.
    async fn held(
        &mut self,
        arguments: Value,
        verdict: Verdict,
    ) -> anyhow::Result<(Called, Value)> {
        self.voice.fact("alice calls", &format!("transfer_funds {arguments}"), Tint::Plain)?;
        let bob =
            decide_on_a_thread(self.running.admin_url(), self.people, arguments.clone(), verdict);
        let call = self.alice.call("transfer_funds", object(arguments));
        let decided = async {
            let joined = tokio::task::spawn_blocking(move || bob.join()).await;
            joined
                .context("bob's thread was lost")?
                .map_err(|_panic| anyhow::anyhow!("bob's thread died"))?
        };
        // Without a decision the call would wait for its whole time.
        let (called, approval) = tokio::try_join!(call, decided)?;
        let held = format!(
            "held: {} needs {}",
            pointed(&approval, "/terms/required/0/id"),
            pointed(&approval, "/terms/required/0/approvers/0"),
        );
        self.voice.fact("meanwhile", &held, Tint::Held)?;
        self.voice.fact("", "alice tries to approve it herself: refused", Tint::Plain)?;
        let digest: String = text(&approval, "digest").chars().take(23).collect();
        let verb = if verdict == Verdict::Approve { "approves" } else { "refuses" };
        let said = format!(
            "bob reads the exact arguments and {verb} {} ({digest}…)",
            text(&approval, "id")
        );
        self.voice.fact("", &said, Tint::Plain)?;
        Ok((called, approval))
    }

    async fn vote(&self, approval: &Value, verdict: Verdict) -> Result<Value, ApiError> {
        cast(&self.bob, approval, verdict).await
    }

    /// How many transfers the tool server has made.
    async fn executions(&mut self) -> anyhow::Result<u64> {
        let called = self.alice.call("ledger", Map::new()).await?;
        let count = called.structured.as_ref().and_then(|value| value.get("executions")?.as_u64());
        count.with_context(|| format!("the ledger does not answer: {}", called.text))
    }

    /// The record of the last call of `tool`, once its outcome is indexed.
    async fn row(&mut self, tool: &str) -> anyhow::Result<Value> {
        let until = Instant::now().checked_add(PATIENCE).context("no end of the wait")?;
        loop {
            let page = self.bob.get("calls?limit=50").await?;
            let rows = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let fresh = rows.into_iter().find(|row| {
                text(row, "tool") == tool
                    && !self.told.contains(text(row, "call"))
                    && row.get("outcome_seq").is_some_and(Value::is_u64)
            });
            if let Some(row) = fresh {
                self.told.insert(text(&row, "call").to_owned());
                return Ok(row);
            }
            ensure!(Instant::now() < until, "the call of {tool} has no record after 10 s");
            sleep(STEP).await;
        }
    }

    /// Decision, rule and record numbers.
    fn decision(&mut self, row: &Value, tint: Tint) -> anyhow::Result<()> {
        let reasons = row.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
        let rules: Vec<String> = reasons.iter().map(rule).collect();
        let rules =
            if rules.is_empty() { "no rule against it".to_owned() } else { rules.join(", ") };
        let effect = match text(row, "effect") {
            "require_approval" => "hold for approval",
            other => other,
        };
        self.voice.fact("decision", &format!("{effect}; {rules}"), tint)?;
        let seq = |name: &str| row.get(name).and_then(Value::as_u64);
        let (Some(decision), Some(outcome)) = (seq("decision_seq"), seq("outcome_seq")) else {
            bail!("the call has no record numbers: {row}");
        };
        let line = format!(
            "{decision} (decision), {outcome} (outcome: {}); {}",
            text(row, "outcome"),
            text(row, "call")
        );
        self.voice.fact("records", &line, Tint::Plain)?;
        Ok(())
    }
}

/// Bob, with a client and a thread of his own.
fn decide_on_a_thread(
    admin: String,
    people: &People,
    arguments: Value,
    verdict: Verdict,
) -> JoinHandle<anyhow::Result<Value>> {
    let (alice, bob) = (people.alice.clone(), people.bob.clone());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let alice = AdminApi::new(serve::http_client()?, &admin, &alice)?;
            let bob = AdminApi::new(serve::http_client()?, &admin, &bob)?;
            let approval = pending(&bob).await?;
            let shown = pointed(&approval, "/display/arguments/text");
            let shown: Value =
                serde_json::from_str(shown).context("the shown arguments are no JSON")?;
            ensure!(shown == arguments, "bob is shown {shown}, alice sent {arguments}");
            let own = cast(&alice, &approval, Verdict::Approve).await;
            ensure!(
                matches!(own, Err(ApiError::Refused { .. })),
                "alice could approve her own call"
            );
            cast(&bob, &approval, verdict).await.context("bob's decision was not taken")
        })
    })
}

/// The one approval that waits, read in full.
async fn pending(bob: &AdminApi) -> anyhow::Result<Value> {
    let until = Instant::now().checked_add(PATIENCE).context("no end of the wait")?;
    loop {
        let page = bob.get("approvals?state=pending").await?;
        let first = page.pointer("/items/0/id").and_then(Value::as_str);
        if let Some(id) = first {
            return Ok(bob.get(&format!("approvals/{id}")).await?);
        }
        ensure!(Instant::now() < until, "no call waits for approval after 10 s");
        sleep(STEP).await;
    }
}

async fn cast(who: &AdminApi, approval: &Value, verdict: Verdict) -> Result<Value, ApiError> {
    let (verb, reason) = match verdict {
        Verdict::Approve => ("approve", "the invoice is in order"),
        Verdict::Deny => ("deny", "nobody knows this account"),
    };
    let body = json!({ "expect": text(approval, "digest"), "reason": reason });
    who.post(&format!("approvals/{}/{verb}", text(approval, "id")), &body).await
}

fn object(arguments: Value) -> Map<String, Value> {
    match arguments {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn pointed<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn fired(row: &Value, id: &str) -> bool {
    let reasons = row.get("reasons").and_then(Value::as_array);
    reasons.is_some_and(|reasons| reasons.iter().any(|reason| text(reason, "id") == id))
}

/// `rule transfer.large (demo_transfer_funds.rego:22)`.
fn rule(reason: &Value) -> String {
    let file = text(reason, "file");
    let line = reason.get("line").and_then(Value::as_u64).unwrap_or_default();
    let place = if file.is_empty() { String::new() } else { format!(" ({file}:{line})") };
    format!("rule {}{place}", text(reason, "id"))
}

const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(25);
