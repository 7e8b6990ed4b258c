//! The node types that a worker offers, and nodes made of them with their parameters.

use crate::node::{Moment, Node, NodeError, Way};
use crate::nodes;
use crate::sound::Sound;
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_shm_schema::control::NodeDescription;
use remotemedia_shm_schema::manifest::{self, Fault, Faults, did_you_mean};
use remotemedia_worker::{Picture, PictureMut};
use serde_json::{Map, Value};

/// Node types by name.
#[derive(Debug, Clone)]
pub struct Registry {
    types: Vec<NodeType>,
}

type Make = fn(&Map<String, Value>) -> Result<Box<dyn Running>, Faults>;

/// One node type.
#[derive(Debug, Clone, Copy)]
pub struct NodeType {
    /// Its name in manifests.
    pub kind: &'static str,
    summary: &'static str,
    /// Whether it takes pictures.
    pub video: bool,
    /// Whether it takes sound.
    pub audio: bool,
    schema: fn() -> Value,
    make: Make,
}

/// A node with its parameters, as the graph holds it.
pub trait Running: Send {
    /// Takes a JSON object with the parameters that change.
    ///
    /// # Errors
    /// Every fault, each with its path; all old parameters stay in force.
    fn set(&mut self, changes: &str) -> Result<(), Faults>;
    /// Takes the last change back, which was found not to fit the nodes beside it.
    fn unset(&mut self);
    /// All parameters as they are in force.
    fn params(&self) -> Value;
    /// Makes the node anew with the parameters in force: it panicked, and its state is not to be trusted.
    ///
    /// # Errors
    /// As [`Node::new`].
    fn renew(&mut self) -> Result<(), NodeError>;
    /// See [`Node::way`].
    fn way(&self) -> Way;
    /// See [`Node::way_for`].
    fn way_for(&self, of: &VideoGeometry) -> Way;
    /// See [`Node::size`].
    ///
    /// # Errors
    /// As there.
    fn size(&self, of: &VideoGeometry) -> Result<(u16, u16), NodeError>;
    /// See [`Node::size_of_any`].
    fn size_of_any(&self) -> Option<(u16, u16)>;
    /// See [`Node::admits`].
    fn admits(&mut self, moment: &Moment) -> bool;
    /// See [`Node::within`].
    ///
    /// # Errors
    /// As there.
    fn within(&mut self, picture: &mut PictureMut<'_>, moment: &Moment) -> Result<(), NodeError>;
    /// See [`Node::across`].
    ///
    /// # Errors
    /// As there.
    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        moment: &Moment,
    ) -> Result<u64, NodeError>;
    /// See [`Node::sound`].
    ///
    /// # Errors
    /// As there.
    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError>;
    /// See [`Node::rings`].
    fn rings(&self) -> bool;
}

impl Registry {
    /// The built-in nodes.
    #[must_use]
    pub fn built_in() -> Self {
        Self { types: Vec::new() }
            .with::<nodes::Passthrough>()
            .with::<nodes::GaussianBlur>()
            .with::<nodes::Grayscale>()
            .with::<nodes::Overlay>()
            .with::<nodes::Scale>()
            .with::<nodes::Crop>()
            .with::<nodes::Mirror>()
            .with::<nodes::ColourAdjust>()
            .with::<nodes::ChromaKey>()
            .with::<nodes::FrameRate>()
            .with::<nodes::Gain>()
            .with::<nodes::NoiseGate>()
            .with::<nodes::NoiseSuppression>()
            .with::<nodes::HighPass>()
            .with::<nodes::Echo>()
            .with::<nodes::Limiter>()
    }

    /// And one more; a type of the same name is replaced.
    #[must_use]
    pub fn with<N: Node>(mut self) -> Self {
        self.types.retain(|t| t.kind != N::KIND);
        self.types.push(NodeType {
            kind: N::KIND,
            summary: N::SUMMARY,
            video: N::VIDEO,
            audio: N::AUDIO,
            schema: schema::<N>,
            make: make::<N>,
        });
        self
    }

    /// A type by its name.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&NodeType> {
        self.types.iter().find(|t| t.kind == kind)
    }

    /// What the worker tells the router.
    #[must_use]
    pub fn descriptions(&self) -> Vec<NodeDescription> {
        self.types
            .iter()
            .map(|t| NodeDescription {
                kind: t.kind.to_owned(),
                summary: t.summary.to_owned(),
                video: t.video,
                audio: t.audio,
                params_schema: (t.schema)().to_string(),
            })
            .collect()
    }

    /// A node of this type with these parameters, a JSON object.
    ///
    /// # Errors
    /// Every fault of type and parameters.
    pub fn make(&self, kind: &str, params: &str) -> Result<Box<dyn Running>, Faults> {
        let Some(of) = self.get(kind) else {
            let known: Vec<&str> = self.types.iter().map(|t| t.kind).collect();
            let hint = did_you_mean(kind, &known);
            return Err(one("$.type", format!("this worker has no node type {kind:?}{hint}")));
        };
        (of.make)(&object(params)?)
    }
}

fn schema<N: Node>() -> Value {
    let mut schema = schemars::schema_for!(N::Params).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    schema
}

fn make<N: Node>(params: &Map<String, Value>) -> Result<Box<dyn Running>, Faults> {
    let schema = schema::<N>();
    let params = merge::<N>(&schema, &N::Params::default(), params)?;
    let node = N::new(&params).map_err(|e| one(PARAMS, e.to_string()))?;
    Ok(Box::new(Instance { schema, params, before: None, node }))
}

struct Instance<N: Node> {
    schema: Value,
    params: N::Params,
    /// Those before the last change.
    before: Option<N::Params>,
    node: N,
}

impl<N: Node> Running for Instance<N> {
    fn set(&mut self, changes: &str) -> Result<(), Faults> {
        let params = merge::<N>(&self.schema, &self.params, &object(changes)?)?;
        self.node.configure(&params).map_err(|e| one(PARAMS, e.to_string()))?;
        self.before = Some(std::mem::replace(&mut self.params, params));
        Ok(())
    }

    fn unset(&mut self) {
        if let Some(before) = self.before.take()
            && self.node.configure(&before).is_ok()
        {
            self.params = before;
        }
    }

    fn params(&self) -> Value {
        serde_json::to_value(&self.params).unwrap_or_default()
    }

    fn renew(&mut self) -> Result<(), NodeError> {
        self.node = N::new(&self.params)?;
        Ok(())
    }

    fn way(&self) -> Way {
        self.node.way()
    }

    fn way_for(&self, of: &VideoGeometry) -> Way {
        self.node.way_for(of)
    }

    fn size(&self, of: &VideoGeometry) -> Result<(u16, u16), NodeError> {
        self.node.size(of)
    }

    fn size_of_any(&self) -> Option<(u16, u16)> {
        self.node.size_of_any()
    }

    fn admits(&mut self, moment: &Moment) -> bool {
        self.node.admits(moment)
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, moment: &Moment) -> Result<(), NodeError> {
        self.node.within(picture, moment)
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        moment: &Moment,
    ) -> Result<u64, NodeError> {
        self.node.across(input, output, moment)
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        self.node.sound(sound)
    }

    fn rings(&self) -> bool {
        self.node.rings()
    }
}

const PARAMS: &str = "$.params";

/// The parameters in force with these changes; the schema tells every fault with path and range, serde has the last word.
fn merge<N: Node>(
    schema: &Value,
    old: &N::Params,
    changes: &Map<String, Value>,
) -> Result<N::Params, Faults> {
    let faults = manifest::check_params(schema, changes, PARAMS);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let mut all = serde_json::to_value(old).map_err(|e| one(PARAMS, e.to_string()))?;
    if let Some(all) = all.as_object_mut() {
        all.extend(changes.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    serde_json::from_value(all).map_err(|e| one(PARAMS, e.to_string()))
}

fn object(text: &str) -> Result<Map<String, Value>, Faults> {
    serde_json::from_str(text).map_err(|e| one(PARAMS, format!("must be a JSON object: {e}")))
}

fn one(path: &str, message: String) -> Faults {
    Faults(vec![Fault { path: path.to_owned(), message }])
}
