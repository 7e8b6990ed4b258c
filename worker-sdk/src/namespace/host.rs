//! The router's side of a session: creates and holds every service, and takes everything away at the end.

use super::Runtime;
use super::config::{
    BORROWED, MAX_INDEX, MAX_LISTENERS, MAX_NOTIFIERS, MAX_PUBLISHERS, SPARE_NODES, WAKE_NODES,
    check_channel, check_service,
};
use super::ground::Ground;
use super::sweep::{Objects, Swept, objects};
use crate::header::Header;
use crate::{Attachment, Fault, Service};
use iceoryx2::prelude::{CallbackProgression, PortFactory as _, ServiceName};
use iceoryx2::service::port_factory::{event, publish_subscribe};
use remotemedia_shm_schema::WhenFull;
use remotemedia_shm_schema::control::{ChannelSpec, Namespace};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug)]
#[allow(
    dead_code,
    reason = "held so that the service stays; iceoryx2 removes it with its last handle"
)]
enum Held {
    Channel(publish_subscribe::PortFactory<Service, [u8], Header>),
    Wake(event::PortFactory<Service>),
}

/// One session's namespace and all its services; dropping it sweeps, [`Host::sweep`] tells what was found.
#[derive(Debug)]
pub struct Host {
    // Dropped in this order: services before the node that they belong to.
    held: BTreeMap<String, Held>,
    attachment: Option<Attachment>,
    namespace: Namespace,
    /// Where it is this one that takes the namespace away at the end.
    ground: Option<Ground>,
}

impl Host {
    /// A new namespace in the runtime folder, with a random name.
    ///
    /// # Errors
    /// When the folder or the node cannot be made.
    pub fn create(runtime: &Runtime) -> Result<Self, Fault> {
        let ground = Ground::make(runtime)?;
        let mut host = Self::keep(ground.namespace())?;
        host.ground = Some(ground);
        Ok(host)
    }

    /// The services of a namespace that somebody else made and will take away.
    ///
    /// # Errors
    /// When the namespace is none of ours or the node cannot be made.
    pub fn keep(namespace: &Namespace) -> Result<Self, Fault> {
        let attachment = Some(Attachment::open(namespace)?);
        let namespace = namespace.clone();
        Ok(Self { held: BTreeMap::new(), attachment, namespace, ground: None })
    }

    /// Where it is; what workers are told.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// To open ports of the router's own.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        self.attachment.as_ref().expect("set by `create` before it returns, taken only by drop")
    }

    /// Makes a channel's service.
    ///
    /// # Errors
    /// When the description is out of bounds or a service of this name stands.
    pub fn create_channel(&mut self, spec: &ChannelSpec) -> Result<(), Fault> {
        check_channel(spec)?;
        let readers = spec.max_readers as usize;
        let overflow = spec.contract.when_full != WhenFull::Lossless;
        let service = self
            .attachment()
            .service(&self.free(&spec.service)?)
            .publish_subscribe::<[u8]>()
            .user_header::<Header>()
            .subscriber_max_buffer_size(spec.contract.capacity as usize)
            .subscriber_max_borrowed_samples(BORROWED)
            .history_size(0)
            .max_subscribers(readers)
            .max_publishers(MAX_PUBLISHERS)
            .max_nodes(readers + SPARE_NODES)
            .enable_safe_overflow(overflow)
            .create()
            .map_err(|e| Fault::port("create the channel", &spec.service, e))?;
        self.held.insert(spec.service.clone(), Held::Channel(service));
        Ok(())
    }

    /// Makes the event service that one thread waits on.
    ///
    /// # Errors
    /// When a service of this name stands.
    pub fn create_wake(&mut self, service: &str) -> Result<(), Fault> {
        check_service(service)?;
        let made = self
            .attachment()
            .service(&self.free(service)?)
            .event()
            .max_listeners(MAX_LISTENERS)
            .max_notifiers(MAX_NOTIFIERS)
            .max_nodes(WAKE_NODES)
            .event_id_max_value(MAX_INDEX as usize)
            .disable_deadline()
            .disable_notifier_created_event()
            .disable_notifier_dropped_event()
            .disable_notifier_dead_event()
            .create()
            .map_err(|e| Fault::port("create the wake-up", service, e))?;
        self.held.insert(service.to_owned(), Held::Wake(made));
        Ok(())
    }

    /// Drops the held service, channel or wake-up; its memory goes with the last process that has it open. Whoever is
    /// alive must have let go of its ports: what stands in the service's list still is a dead process's, whose segments nobody
    /// would give back before the session's end. Gives their numbers, for [`unlink_ports`](super::unlink_ports).
    #[must_use = "memory of the dead"]
    pub fn forget(&mut self, service: &str) -> Vec<u128> {
        match self.held.remove(service) {
            Some(Held::Channel(channel)) => ports_of(&channel),
            Some(Held::Wake(_)) | None => Vec::new(),
        }
    }

    /// Counts what the namespace has, by listing.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn objects(&self) -> io::Result<Objects> {
        objects(&self.namespace)
    }

    /// Takes everything away: to be called after all processes of the session are reaped and all ports dropped.
    #[must_use = "it tells what is left"]
    pub fn sweep(mut self) -> Swept {
        self.take_away()
    }

    fn free(&self, service: &str) -> Result<ServiceName, Fault> {
        if self.held.contains_key(service) {
            return Err(Fault::invalid("service name", service, "it is in use"));
        }
        ServiceName::new(service).map_err(|e| Fault::port("name the service", service, e))
    }

    fn take_away(&mut self) -> Swept {
        // Counted before the orderly drop, which removes some of it already.
        let before = self.objects().unwrap_or_default();
        self.held.clear();
        self.attachment = None;
        let Some(ground) = self.ground.take() else { return Swept::default() };
        let mut swept = ground.sweep();
        if swept.left.is_empty() {
            swept.removed = before.count;
            swept.bytes = before.bytes;
        }
        swept
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After `sweep` this finds nothing; a forgotten host must not leave memory behind.
        let swept = self.take_away();
        if !swept.left.is_empty() {
            tracing::warn!(left = ?swept.left, "a session's namespace could not be removed");
        }
    }
}

/// The ports that a channel's own list has, by the numbers that their objects are named by.
fn ports_of(channel: &publish_subscribe::PortFactory<Service, [u8], Header>) -> Vec<u128> {
    let mut ports = Vec::new();
    let listed = catch_unwind(AssertUnwindSafe(|| {
        channel.dynamic_config().list_publishers(|publisher| {
            ports.push(publisher.publisher_id.value());
            CallbackProgression::Continue
        });
        channel.dynamic_config().list_subscribers(|subscriber| {
            ports.push(subscriber.subscriber_id.value());
            CallbackProgression::Continue
        });
    }));
    // A list that a process damaged has no end of its own: then the sweep takes all away.
    if listed.is_err() { Vec::new() } else { ports }
}
