//! Who works for this router: the processes that the config asks for, and the node types that they offer.
//!
//! `remotemedia serve` keeps them for its sessions; `remotemedia pipelines` starts one of each that runs nodes, hears which, and
//! ends it.

use crate::config::{self, Settings};
use crate::pipeline::{Pipeline, Unsupported};
use crate::workers::supervise::{Limits, Staff};
use crate::workers::{Lock, Pool, Program, Programs, Role};
use anyhow::Context;
use remotemedia_manifest::{
    Document, Faults, Graph, Known, NodeType, Origin, check, check_changes,
};
use remotemedia_shm_schema::control::NodeDescription;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Workers must have said what they can do within this, or the router does not start (DESIGN: the start limit).
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts as many of each as the config says.
///
/// # Errors
/// When a program of ours is nowhere, or no thread can be had.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<Pool> {
    let own = Staff { spares: settings.spares, shared: false };
    let mut staff: BTreeMap<Role, Staff> = Role::OWN.map(|role| (role, own)).into();
    for (role, _, worker) in custom(settings) {
        staff.insert(role, Staff { spares: worker.spares, shared: worker.shared });
    }
    Pool::start(Limits { staff, ..Limits::default() }, programs(settings, &Role::OWN)?)
}

/// What the workers offer: one of each that runs nodes is started, asked and ended. No session's folder is needed for that.
///
/// # Errors
/// When one cannot be started, or does not say what it offers.
pub(crate) async fn ask(settings: &Settings) -> anyhow::Result<Offered> {
    // Without spares one of each kind is started all the same, so that it tells what it can do.
    let one = Staff { spares: 0, shared: false };
    let roles = [Role::Pipeline].into_iter().chain(custom(settings).map(|(role, ..)| role));
    let limits = Limits { staff: roles.map(|role| (role, one)).collect(), ..Limits::default() };
    let pool = Pool::start(limits, programs(settings, &[Role::Pipeline])?)?;
    let offered = Offered::by(&pool, settings).await;
    pool.stop().await;
    offered
}

/// The operator's workers with the roles that they have in this run.
fn custom(settings: &Settings) -> impl Iterator<Item = (Role, &String, &config::Worker)> {
    let numbered = (0..=u16::MAX).zip(&settings.workers);
    numbered.map(|(number, (name, worker))| (Role::Custom(number), name, worker))
}

/// What is started for these roles of our own, and for all of the operator's.
fn programs(settings: &Settings, own: &[Role]) -> anyhow::Result<Programs> {
    let mut programs = Programs::new();
    for role in own {
        let dir = settings.worker_dir.as_deref();
        programs.insert(*role, Program::own(*role, dir, settings.sandbox)?);
    }
    for (role, name, worker) in custom(settings) {
        let program = Program {
            name: name.as_str().into(),
            path: worker.command.clone(),
            arguments: worker.args.iter().map(Into::into).collect(),
            environment: worker.env.clone(),
            sandbox: if worker.sandbox { Lock::Require } else { Lock::Off },
            restart: worker.restart,
            data: false,
        };
        programs.insert(role, program);
    }
    Ok(programs)
}

/// What manifests are checked against: the node types of this router's workers, and what its settings allow.
#[derive(Debug)]
pub struct Offered {
    own: Vec<NodeType>,
    workers: BTreeMap<String, Vec<NodeType>>,
    roles: BTreeMap<String, Role>,
    hosts: BTreeSet<String>,
    media_dir: bool,
}

impl Offered {
    /// Asks every kind of worker that runs nodes, so that a fault in a pipeline is told before anybody calls.
    ///
    /// # Errors
    /// When one does not say so in time, with the last start's error.
    pub(crate) async fn by(pool: &Pool, settings: &Settings) -> anyhow::Result<Self> {
        let own = types(pool, Role::Pipeline).await?;
        let (mut workers, mut roles) = (BTreeMap::new(), BTreeMap::new());
        for (role, name, worker) in custom(settings) {
            let offered = types(pool, role).await.with_context(|| {
                format!("{}: the worker `{name}` ({})", worker.place, worker.command.display())
            })?;
            workers.insert(name.clone(), offered);
            roles.insert(name.clone(), role);
        }
        let (hosts, media_dir) = (settings.media_hosts.clone(), settings.media_dir.is_some());
        Ok(Self { own, workers, roles, hosts, media_dir })
    }

    /// Checks a manifest.
    ///
    /// # Errors
    /// Every fault.
    pub(crate) fn check(&self, manifest: &Document, origin: Origin) -> Result<Graph, Faults> {
        check(manifest, self.known(), origin)
    }

    /// Checks parameters that a peer wants a running node to have.
    ///
    /// # Errors
    /// Every fault.
    pub(crate) fn changes(
        &self,
        of: &NodeDescription,
        changes: &Map<String, Value>,
    ) -> Result<(), Faults> {
        check_changes(&NodeType::from(of), changes, self.known(), Origin::Network)
    }

    fn known(&self) -> Known<'_> {
        Known {
            own: &self.own,
            workers: &self.workers,
            hosts: &self.hosts,
            media_dir: self.media_dir,
        }
    }

    /// A graph that was checked here, as sessions run it.
    ///
    /// # Errors
    /// When not all of it can be run yet.
    pub(crate) fn pipeline(&self, graph: &Graph) -> Result<Pipeline, Unsupported> {
        Pipeline::of(graph, &self.roles)
    }

    /// Every node type, with the operator's worker that has it; our own first.
    pub(crate) fn types(&self) -> impl Iterator<Item = (Option<&str>, &NodeType)> {
        let own = self.own.iter().map(|of| (None, of));
        let others = self.workers.iter().flat_map(|(name, all)| {
            let name = Some(name.as_str());
            all.iter().map(move |of| (name, of))
        });
        own.chain(others)
    }
}

async fn types(pool: &Pool, role: Role) -> anyhow::Result<Vec<NodeType>> {
    let catalogue = pool.catalogue(role, START_TIMEOUT).await?;
    Ok(catalogue.nodes.iter().map(NodeType::from).collect())
}
