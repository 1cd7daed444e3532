//! A gateway in a folder of its own, with local tokens for everybody and one dead tool server.

use std::path::Path;

use bytes::Bytes;
use forge_schemas::ids::Tenant;
use forge_schemas::policy::{ApprovalRequirement, ApprovalTerms};
use forge_schemas::record::{EventRecord, Record, RecordPrincipal};
use reqwest::Method;
use serde_json::{Value, json};

use crate::approval::model::{Approval, NewApproval, Parcel};
use crate::auth::Grant;
use crate::config::{self, Surroundings};
use crate::ids;
use crate::journal::testing::{TempDir, tenant};
use crate::serve::{self, Options, Running};
use crate::state::Gateway;

/// What must not come out anywhere.
pub(super) const SECRET: &str = "hunter2-of-the-upstream";

const CONFIG: &str = r#"
[listen]
mcp = "127.0.0.1:0"
admin = "127.0.0.1:0"
[auth]
mode = "local"
[evidence]
commit_interval_ms = 0
[approval]
open_per_principal = 50
[servers.dead]
url = "http://127.0.0.1:9/mcp"
tags = ["test"]
credential = { bearer = { file = "upstream-token" } }
"#;

/// The gateway; it stops with the test's runtime.
#[derive(Debug)]
pub(super) struct World {
    pub(super) running: Running,
    http: reqwest::Client,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem document, which has to be a whole one.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for member in ["type", "title", "detail", "code"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = TempDir::new("admin");
        std::fs::write(folder.path().join("upstream-token"), SECRET).unwrap();
        let around = Surroundings { base: folder.path().to_owned(), env: |_| None };
        let config = config::parse(CONFIG, Path::new("forge.toml"), &around).unwrap();
        let options = Options { exe: "/nonexistent".into(), base_env: Default::default() };
        let running = Box::pin(serve::start(config, options)).await.unwrap();
        let http = serve::http_client().unwrap();
        Self { running, http, _folder: folder }
    }

    pub(super) fn gateway(&self) -> &Gateway {
        self.running.gateway()
    }

    /// A token of somebody of a tenant.
    pub(super) fn token_of(&self, tenant_name: &str, subject: &str, roles: &[&str]) -> String {
        let gateway = self.gateway();
        let grant = Grant {
            subject: subject.to_owned(),
            tenant: tenant(tenant_name),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            groups: Vec::new(),
            ttl: None,
        };
        gateway.auth.local().unwrap().mint(&grant, gateway.clock.now_ms()).unwrap()
    }

    pub(super) fn token(&self, subject: &str, roles: &[&str]) -> String {
        self.token_of("default", subject, roles)
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.running.admin_url());
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    /// A read; without a token if it is empty.
    pub(super) async fn get(&self, path: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let headers = if token.is_empty() { &headers[..0] } else { &headers[..] };
        self.send("GET", path, headers, "").await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let bearer = format!("Bearer {token}");
        let json = ("content-type", "application/json");
        let headers = [json, ("authorization", bearer.as_str())];
        let headers = if token.is_empty() { &headers[..1] } else { &headers[..] };
        self.send("POST", path, headers, body).await
    }

    pub(super) async fn vote(&self, approval: &Approval, verb: &str, token: &str) -> Reply {
        let body = json!({ "expect": approval.digest, "reason": "seen" }).to_string();
        self.post(&format!("/api/v1/approvals/{}/{verb}", approval.id), token, body).await
    }

    /// A call of `subject` that waits for one person with the role approver.
    pub(super) async fn pending(&self, subject: &str) -> Approval {
        let arguments = Bytes::from(format!(r#"{{"to":"{}"}}"#, ids::evaluation()));
        let required = ApprovalRequirement {
            id: "test.hold".to_owned(),
            approvers: vec!["role:approver".to_owned()],
            quorum: 1,
            not: vec!["requester".to_owned()],
        };
        let new = NewApproval {
            tenant: Tenant::default(),
            call: ids::call(),
            session: None,
            evaluation_id: ids::evaluation(),
            subject: RecordPrincipal {
                id: subject.to_owned(),
                issuer: "local".to_owned(),
                kind: "user".to_owned(),
            },
            agent: String::new(),
            server: "dead".to_owned(),
            tool: "pay".to_owned(),
            schema_digest: String::new(),
            policy_revision: "r".to_owned(),
            terms: ApprovalTerms {
                required: vec![required],
                ttl_s: 600,
                execute_within_s: 600,
                scope: "call".to_owned(),
                max_uses: 1,
            },
            parcel: Parcel { message: arguments.clone(), arguments },
            display: json!({}),
        };
        self.gateway().approvals.request(new).await.unwrap().approval
    }

    /// How many records the tenant has.
    pub(super) fn head(&self, tenant_name: &str) -> u64 {
        self.gateway().journal.heads().get(&tenant(tenant_name)).copied().unwrap_or_default()
    }

    /// Event records of the tenant from `from` on.
    pub(super) fn events(&self, tenant_name: &str, from: u64) -> Vec<EventRecord> {
        let read = self.gateway().journal.read(&tenant(tenant_name), from).unwrap();
        let records = read.map(|entry| entry.unwrap().record);
        records
            .filter_map(|record| match record {
                Record::Event(event) => Some(*event),
                Record::Decision(_) | Record::Outcome(_) | Record::Approval(_) => None,
            })
            .collect()
    }
}
