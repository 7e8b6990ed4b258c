//! A process's place in a session: opens the ports that the router's services allow.

use crate::namespace::config::{self, check_channel, check_service};
use crate::{Fault, Inlet, Outlet, Service, Wake};
use iceoryx2::prelude::{Node, ServiceName};
use iceoryx2::service::builder::Builder;
use remotemedia_shm_schema::control::{ChannelSpec, Namespace};
use std::sync::Arc;

/// An open namespace; cheap to clone, closed with the last clone and port.
#[derive(Debug, Clone)]
pub struct Attachment {
    node: Arc<Node<Service>>,
}

impl Attachment {
    /// Opens a namespace that a router made.
    ///
    /// # Errors
    /// When the description is none of ours, or iceoryx2 refuses.
    pub fn open(namespace: &Namespace) -> Result<Self, Fault> {
        let config = config::of(namespace)?;
        Ok(Self { node: Arc::new(config::node(&config)?) })
    }

    /// The producing end of a channel.
    ///
    /// # Errors
    /// When the router has not made the channel or one of its wake-ups, or as many producers have it open as may.
    pub fn outlet(&self, spec: &ChannelSpec) -> Result<Outlet, Fault> {
        check_channel(spec)?;
        Outlet::open(self, spec)
    }

    /// A reading end of a channel.
    ///
    /// # Errors
    /// When the router has not made the channel, or as many readers have it open as may.
    pub fn inlet(&self, spec: &ChannelSpec) -> Result<Inlet, Fault> {
        check_channel(spec)?;
        Inlet::open(self, spec)
    }

    /// The waiting end of a wake-up.
    ///
    /// # Errors
    /// When the router has not made it, or another thread waits on it.
    pub fn wake(&self, service: &str) -> Result<Wake, Fault> {
        check_service(service)?;
        Wake::open(self, service)
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Builder<Service> {
        self.node.service_builder(name)
    }

    pub(crate) fn named(&self, service: &str) -> Result<Builder<Service>, Fault> {
        let name =
            ServiceName::new(service).map_err(|e| Fault::port("name the service", service, e))?;
        Ok(self.service(&name))
    }
}
