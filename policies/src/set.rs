//! A bundle, loaded: the type that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forge_schemas::digest::Digest;
use forge_schemas::policy::{Decision, Effect, Engine, Phase, PolicyInput};

use crate::bundle::Bundle;
use crate::check::{self, Fault};
use crate::engine::{Failure, Input};
use crate::grants::Filter;
use crate::layout::Layer;
use crate::merge::{self, Merged, Terms, Voice};
use crate::unit::{self, Trouble, Unit};

/// What the gateway can do and how long policy may take. No default: whoever loads a bundle says
/// which duties are carried out.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall clock for the evaluation of one package: a backstop against loops, at least a second,
    /// because a thread that is not scheduled spends it too.
    pub wall: Duration,
    /// Types of obligations that are carried out. Any other refuses the call.
    pub obligations: BTreeSet<String>,
    /// Whether `limits` are enforced. If not, a policy that sets one refuses the call.
    pub enforces_limits: bool,
}

/// Why a bundle does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It has faults that the checker names.
    #[error("the policy bundle has {} faults, the first: {}", .0.len(), first(.0))]
    Faults(Vec<Fault>),
}

fn first(faults: &[Fault]) -> String {
    faults.first().map(ToString::to_string).unwrap_or_default()
}

impl LoadError {
    /// Every fault.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        let Self::Faults(faults) = self;
        faults
    }
}

/// The packages of one phase.
#[derive(Debug, Default)]
struct Stage {
    org: Option<Unit>,
    tenants: BTreeMap<String, Unit>,
    tools: BTreeMap<String, BTreeMap<String, Unit>>,
}

/// A bundle, ready to decide. Immutable; shared by all threads.
#[derive(Debug)]
pub struct PolicySet {
    stages: BTreeMap<Phase, Stage>,
    revision: String,
    digest: Digest,
    limits: Limits,
}

impl PolicySet {
    /// Loads a bundle. It has to have passed `check` in a child process before; the checks that
    /// need no compiler run here again.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn load(bundle: &Bundle, limits: Limits) -> Result<Self, LoadError> {
        let checked = check::analyse(bundle).map_err(LoadError::Faults)?;
        let (mut stages, mut faults) = (BTreeMap::<Phase, Stage>::new(), Vec::new());
        for spec in unit::specs(&checked.modules) {
            let (phase, layer, owner) = (spec.phase, spec.layer, spec.owner.clone());
            let file = spec.file().to_owned();
            match Unit::load(spec, bundle, &checked, limits.wall) {
                Ok(unit) => stages.entry(phase).or_default().place(layer, &owner, unit),
                Err(found) => faults.push(check::placed(&file, found)),
            }
        }
        if !faults.is_empty() {
            return Err(LoadError::Faults(faults));
        }
        let (revision, digest) = (bundle.revision().to_owned(), bundle.digest());
        Ok(Self { stages, revision, digest, limits })
    }

    /// `NAME@DIGITS`.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Digest of the bundle.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether any layer speaks about calls like this: where none does, a `response` needs no
    /// evaluation.
    #[must_use]
    pub fn has_phase(&self, phase: Phase, server: &str, tool: &str, tenant: &str) -> bool {
        !self.units(phase, server, tool, tenant).is_empty()
    }

    /// Decides. Never fails: whatever goes wrong is a refusal with the reason `policy.error`.
    /// `us` is left 0: policies have no clock.
    #[must_use]
    pub fn decide(&self, input: &PolicyInput, evaluation_id: String) -> Decision {
        self.decide_with_trouble(input, evaluation_id).0
    }

    /// Decides, and says what went wrong in words for people who write policies. The words may
    /// quote the input: they are for a terminal, never for a log or a record.
    #[must_use]
    pub fn decide_with_trouble(
        &self,
        input: &PolicyInput,
        evaluation_id: String,
    ) -> (Decision, Vec<String>) {
        let (merged, trouble) = match translated(input) {
            Ok(document) => self.ask(input, &document),
            Err(sentence) => (merge::failed("the input could not be read"), vec![sentence]),
        };
        (self.decision(merged, evaluation_id), trouble)
    }

    /// Which of `names` (server and tool, prompt or resource) the subject may see. `input` is one
    /// of phase `list`.
    ///
    /// # Errors
    /// The refusal, if policy could not be evaluated or denies the list as a whole: then nothing
    /// is shown. Its evaluation is named `ev_list_` and the request's id.
    pub fn visible<S: AsRef<str>>(
        &self,
        input: &PolicyInput,
        names: &[(S, S)],
    ) -> Result<Vec<bool>, Box<Decision>> {
        let refuse = |merged| {
            let evaluation_id = format!("ev_list_{}", input.context.request.id);
            Err(Box::new(self.decision(merged, evaluation_id)))
        };
        let Ok(document) = translated(input) else {
            return refuse(merge::failed("the input could not be read"));
        };
        let tenant = &input.subject.properties.tenant;
        let units = self.units(Phase::List, "", "", tenant);
        let voices: Vec<Voice<'_>> = units.iter().map(|unit| voice(unit, &document)).collect();
        let filter = Filter::new(units.iter().copied().zip(&voices));
        let merged = merge::merge(voices, self.terms(Phase::List, &BTreeSet::new()));
        if merged.effect != Effect::Allow {
            return refuse(merged);
        }
        let mut shown = Vec::with_capacity(names.len());
        for (server, tool) in names {
            let (server, tool) = (server.as_ref(), tool.as_ref());
            let own = self.tool_unit(Phase::List, server, tool);
            let open = own.map(|unit| filter.tool(unit, unit.ask(&document))).transpose();
            match open {
                Ok(open) => shown.push(open.unwrap_or(true) && filter.grants(server, tool)),
                Err(_trouble) => {
                    let merged = merge::failed("a tool's list package could not be evaluated");
                    return refuse(merged);
                }
            }
        }
        Ok(shown)
    }

    fn ask(&self, input: &PolicyInput, document: &Input) -> (Merged, Vec<String>) {
        let place = &input.resource.properties;
        let tenant = &input.subject.properties.tenant;
        let units = self.units(input.phase, &place.server, &place.tool, tenant);
        let voices: Vec<Voice<'_>> = units.iter().map(|unit| voice(unit, document)).collect();
        let trouble = voices.iter().filter_map(describe).collect();
        let met = met(input);
        (merge::merge(voices, self.terms(input.phase, &met)), trouble)
    }

    fn terms<'a>(&'a self, phase: Phase, met: &'a BTreeSet<String>) -> Terms<'a> {
        let Limits { obligations, enforces_limits, .. } = &self.limits;
        Terms { phase, obligations, limits: *enforces_limits, met }
    }

    fn units(&self, phase: Phase, server: &str, tool: &str, tenant: &str) -> Vec<&Unit> {
        let Some(stage) = self.stages.get(&phase) else { return Vec::new() };
        let tenant = stage.tenants.get(tenant);
        stage.org.iter().chain(tenant).chain(self.tool_unit(phase, server, tool)).collect()
    }

    fn tool_unit(&self, phase: Phase, server: &str, tool: &str) -> Option<&Unit> {
        self.stages.get(&phase)?.tools.get(server)?.get(tool)
    }

    fn decision(&self, merged: Merged, evaluation_id: String) -> Decision {
        let Merged { effect, reasons, redactions, obligations, approval, limits, labels } = merged;
        Decision {
            effect,
            decision: effect == Effect::Allow,
            evaluation_id,
            revision: self.revision.clone(),
            reasons,
            redactions,
            obligations,
            approval,
            limits,
            labels,
            engine: Engine::Interp,
            us: 0,
        }
    }
}

impl Stage {
    fn place(&mut self, layer: Layer, owner: &[String], unit: Unit) {
        match (layer, owner) {
            (Layer::Org, _) => self.org = Some(unit),
            (Layer::Tenant, [tenant]) => drop(self.tenants.insert(tenant.clone(), unit)),
            (Layer::Tools, [server, tool]) => {
                let tools = self.tools.entry(server.clone()).or_default();
                drop(tools.insert(tool.clone(), unit));
            }
            (Layer::Tenant | Layer::Tools, _) => {}
        }
    }
}

fn translated(input: &PolicyInput) -> Result<Input, String> {
    let json = serde_json::to_value(input).map_err(|error| error.to_string())?;
    Input::new(&json).map_err(|error| error.to_string())
}

fn voice<'a>(unit: &'a Unit, document: &Input) -> Voice<'a> {
    Voice {
        layer: unit.layer,
        defines_allow: unit.defines_allow,
        locations: &unit.locations,
        answer: unit.ask(document),
    }
}

/// Requirements that the approval in the input has met: `context.approval` with the state
/// `approved` and a list `requirements`. The host takes them off; everything else is asked anew.
fn met(input: &PolicyInput) -> BTreeSet<String> {
    let approval = input.context.approval.as_ref().filter(|_value| input.phase == Phase::Request);
    let approved =
        approval.filter(|value| value.get("state").is_some_and(|state| state == "approved"));
    let ids = approved.and_then(|value| value.get("requirements")?.as_array());
    ids.into_iter().flatten().filter_map(|id| id.as_str().map(ToOwned::to_owned)).collect()
}

fn describe(voice: &Voice<'_>) -> Option<String> {
    let trouble = voice.answer.as_ref().err()?;
    let layer = voice.layer.as_str();
    Some(match trouble {
        Trouble::Evaluation(Failure::Time) => format!("{layer}: the time limit passed"),
        Trouble::Evaluation(Failure::Panic) => format!("{layer}: the evaluator panicked"),
        Trouble::Evaluation(Failure::Value(error)) => {
            format!("{layer}: the answer is malformed: {error}")
        }
        Trouble::Evaluation(Failure::Evaluation(found)) => match &found.place {
            Some((file, line, column)) => {
                format!("{layer}: {file}:{line}:{column}: {}", found.sentence)
            }
            None => format!("{layer}: {}", found.sentence),
        },
        Trouble::Undefined => format!("{layer}: the answer is undefined"),
        Trouble::Malformed(found) => {
            format!("{layer}: {} is malformed: {}", found.entry, found.detail)
        }
    })
}
