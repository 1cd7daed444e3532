//! What the admin API offers: one table that the router, the OpenAPI document and the tests walk.

/// One method on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Approvals of the tenant.
    ListApprovals,
    /// One of them, with the arguments as an approver is shown them.
    ReadApproval,
    /// A vote in favour.
    Approve,
    /// A vote against.
    Deny,
    /// Calls of the tenant.
    ListCalls,
    /// One of them, with its records.
    ReadCall,
    /// Tool servers.
    ListServers,
    /// Their tools.
    ListTools,
    /// The tenant's log and the keys that verify it.
    ReadEvidence,
    /// The bundle in force.
    ReadPolicies,
    /// Readiness, with reasons.
    ReadHealth,
    /// The description of this API.
    ReadOpenapi,
}

impl Endpoint {
    /// Every endpoint, in the order of the reference page.
    pub const ALL: [Self; 12] = [
        Self::ListApprovals,
        Self::ReadApproval,
        Self::Approve,
        Self::Deny,
        Self::ListCalls,
        Self::ReadCall,
        Self::ListServers,
        Self::ListTools,
        Self::ReadEvidence,
        Self::ReadPolicies,
        Self::ReadHealth,
        Self::ReadOpenapi,
    ];

    /// HTTP method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        if self.is_vote() { "POST" } else { "GET" }
    }

    /// Path template; `{id}` stands for one segment.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ListApprovals => "/api/v1/approvals",
            Self::ReadApproval => "/api/v1/approvals/{id}",
            Self::Approve => "/api/v1/approvals/{id}/approve",
            Self::Deny => "/api/v1/approvals/{id}/deny",
            Self::ListCalls => "/api/v1/calls",
            Self::ReadCall => "/api/v1/calls/{id}",
            Self::ListServers => "/api/v1/servers",
            Self::ListTools => "/api/v1/tools",
            Self::ReadEvidence => "/api/v1/evidence",
            Self::ReadPolicies => "/api/v1/policies",
            Self::ReadHealth => "/api/v1/health",
            Self::ReadOpenapi => "/api/v1/openapi.json",
        }
    }

    /// `verb.resource`: what policy reads as `action.name`.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::ListApprovals => "list.approvals",
            Self::ReadApproval => "read.approvals",
            Self::Approve => "approve.approvals",
            Self::Deny => "deny.approvals",
            Self::ListCalls => "list.calls",
            Self::ReadCall => "read.calls",
            Self::ListServers => "list.servers",
            Self::ListTools => "list.tools",
            Self::ReadEvidence => "read.evidence",
            Self::ReadPolicies => "read.policies",
            Self::ReadHealth => "read.health",
            Self::ReadOpenapi => "read.openapi",
        }
    }

    /// The second half of the action: what policy reads as `resource.type`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        self.action().split_once('.').map_or("", |(_, resource)| resource)
    }

    /// Does it change anything?
    #[must_use]
    pub const fn is_vote(self) -> bool {
        matches!(self, Self::Approve | Self::Deny)
    }
}
